"""Files: written whole or not at all, and the layouts of tables and HDF5 shards."""
