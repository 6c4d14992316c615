"""Rows of a result as Arrow columns: by a quick way, and a general one that it has to equal."""
