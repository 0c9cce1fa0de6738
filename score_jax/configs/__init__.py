"""Presets as TOML: the defaults of the two recipes, to read and to override."""
