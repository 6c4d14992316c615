"""The operator's process on Kubernetes: what it hears, when it looks, and how it ends."""
