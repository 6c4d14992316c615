"""One question about a job each; reconcile.py asks them in order."""
