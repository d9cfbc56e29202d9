"""The command line: a module a command, and what all of them print, start and end with."""
