"""A model's files: the folder, cache and hub that they come from, and reading them."""
