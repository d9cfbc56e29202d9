"""Data that is in memory already, as the source of a job: tables, frames, lists, and what Ray has read.

``conversion`` makes rows of what a user gives, ``data`` says how they are held, ``plan`` cuts them into splits, and
``format`` reads these as any other source is read.
"""
