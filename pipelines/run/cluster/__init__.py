"""All that knows Ray: joining or starting one, driving a job with it, and what is watched and told of it."""
