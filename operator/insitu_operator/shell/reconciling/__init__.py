"""One look at one job: gather, decide, act, write the status."""
