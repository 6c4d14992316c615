"""A training run, whatever the framework: ranks that step, commit and leave together."""

from insitu.session.run import Batch, Session

__all__ = ["Batch", "Session"]
