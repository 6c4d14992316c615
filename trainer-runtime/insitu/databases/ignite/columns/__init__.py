"""Rows into Arrow columns: which columns there are, and the ways from a page to them."""
