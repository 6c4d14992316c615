"""When which job gets its next look."""
