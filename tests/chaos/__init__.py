"""Jobs whose processes are killed at random moments, until what they wrote is what an undisturbed run writes.

``python -m tests.chaos --rounds 20 --sink parquet --seed 1`` prints a line of JSON a round. A round kills one process
(``victims``) of a job (``job``), runs the job again until it completes, and compares the place with that of an
undisturbed run (``places``); nothing may be left behind (``remains``). All that is killed was started by the harness.
"""
