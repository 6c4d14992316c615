"""Arrow batches in: tables made to fit, values as CQL encodes them, inserts with back-pressure."""
