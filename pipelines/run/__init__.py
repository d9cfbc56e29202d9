"""A job as it runs: its stages, what drives them, where they are placed, and what is told of them."""
