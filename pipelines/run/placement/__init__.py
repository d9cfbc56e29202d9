"""Where the actors of a job are placed: pools, their sizes, the nodes they fit, and the jobs that none would fit."""
