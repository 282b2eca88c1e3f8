"""How fast the engines are, beside the proof that the timed answers are right."""

REVISION = 9
