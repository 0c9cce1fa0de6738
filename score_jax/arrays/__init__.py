"""Pure functions on arrays: grids, regions, intensity, resampling, components. No files here."""
