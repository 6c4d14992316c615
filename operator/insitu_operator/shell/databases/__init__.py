"""What the databases say, read beside the event loop."""
