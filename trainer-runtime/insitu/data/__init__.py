"""Data order: which rows a rank takes in which step, and how much of an epoch is done."""

from insitu.data.cursor import BegunShard, BlockPosition, Cursor, Taken
from insitu.data.exactness import check_epoch, check_table
from insitu.data.order import Order
from insitu.data.quota import Remaining, quotas
from insitu.data.stream import RankStream

__all__ = [
    "BegunShard",
    "BlockPosition",
    "Cursor",
    "Order",
    "RankStream",
    "Remaining",
    "Taken",
    "check_epoch",
    "check_table",
    "quotas",
]
