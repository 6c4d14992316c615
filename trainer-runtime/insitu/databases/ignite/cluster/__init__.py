"""What a cluster tells of itself: nodes, tables, who owns which partition, how many rows."""
