"""The shows behind `make demo` and `make demo-cluster`: an example, and a loss on the way."""
