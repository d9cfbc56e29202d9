"""How a plan, a report, hits and an experiment show themselves: as HTML in a notebook, as text in a terminal."""
