"""What a stage is, the stages of a job, a file each, and the list of them in `job_stages`."""
