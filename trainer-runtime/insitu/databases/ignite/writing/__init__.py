"""Arrow batches into tables."""
