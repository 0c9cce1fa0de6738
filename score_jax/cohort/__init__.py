"""A whole dataset: what is to be done, by whom, what was done, and what came out of it."""
