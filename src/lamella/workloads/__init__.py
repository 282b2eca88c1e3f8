"""Three medical workloads, end to end on every engine, their stages timed apart."""

REVISION = 7
