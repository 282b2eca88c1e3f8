"""The report: the whole run on one page that needs nothing else."""

REVISION = 9
