"""Which rank reads which shards: topology in, plan out."""

from insitu_operator.core.planner.assign import moved, plan

__all__ = ["moved", "plan"]
