"""Cassandra's native protocol, version 4: connections, results, and what refusals mean."""
