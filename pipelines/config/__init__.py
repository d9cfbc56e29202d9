"""A job's configuration, a section a file."""
