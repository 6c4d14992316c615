"""Apache Cassandra: shards are token ranges, read by its native protocol."""
