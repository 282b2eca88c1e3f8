"""Fleet: one way to do the same thing to many slides, with Dask."""
