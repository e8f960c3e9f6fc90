"""Whatever upstream does to a file: an edit lands where a human would put it, or it is a conflict."""
