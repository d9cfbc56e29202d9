"""Places a job writes to: a folder a kind of sink, all of which `pipelines.config.sinks` lists."""
