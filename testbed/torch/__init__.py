"""PyTorch without its CUDA libraries, for tests and CI; see the README beside this file."""
