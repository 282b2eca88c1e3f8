"""SLURM: what a site is like, and what the cluster says of its jobs."""
