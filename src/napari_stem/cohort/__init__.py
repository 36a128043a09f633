"""Many slides, one prediction each, by the workers of a dask cluster; one slide takes no such detour."""
