"""Token ranges from one node, read ahead of need and within a budget of bytes."""
