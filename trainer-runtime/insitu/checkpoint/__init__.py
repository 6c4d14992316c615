"""Checkpoints: parameters and cursor in one commit, in a store that all ranks share."""

from insitu.checkpoint.log import CommitLog, Newest, Skipped, Writer
from insitu.checkpoint.parts import Part, read_part, write_part
from insitu.checkpoint.records import Commit, Fence
from insitu.checkpoint.retention import sweep
from insitu.checkpoint.store import Store, existing_store, open_store, probe

__all__ = [
    "Commit",
    "CommitLog",
    "Fence",
    "Newest",
    "Part",
    "Skipped",
    "Store",
    "Writer",
    "existing_store",
    "open_store",
    "probe",
    "read_part",
    "sweep",
    "write_part",
]
