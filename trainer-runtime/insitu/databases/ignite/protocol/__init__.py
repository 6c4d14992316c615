"""Ignite's binary client protocol: connections, SQL, and what its refusals mean."""
