"""The cluster behind a table: nodes, ring, shards and sizes, asked through the driver."""
