"""Checks that a new collection must pass before an alias names it: each with a number, and a report of all."""
