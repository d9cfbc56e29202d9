"""One run at a time writes to a place: who holds it, the lease, and the file that says so."""
