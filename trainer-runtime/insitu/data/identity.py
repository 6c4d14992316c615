"""Which rows a cursor counts, in a few words that two readings can be compared by.

A cursor says how many rows of each shard were used. It means nothing for another table, another
filter, or the same table in other shards, so a commit carries the fingerprint of its data.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

from insitu.databases import DataSource
from insitu.topology import ShardId

_DIGEST_BYTES = 16
_MODULUS = 1 << 8 * _DIGEST_BYTES


@dataclass(frozen=True, slots=True)
class ShardSet:
    """A set of shards: their number, and the sum of the BLAKE2b digests of their ids.

    Sums of disjoint sets can be added, in any order, so each rank sums up its own shards only.
    """

    count: int = 0
    digest: int = 0

    @classmethod
    def of(cls, shards: Iterable[ShardId]) -> Self:
        """The set of `shards`, each named once."""
        count = digest = 0
        for shard in shards:
            hashed = hashlib.blake2b(shard.encode(), digest_size=_DIGEST_BYTES).digest()
            count, digest = count + 1, (digest + int.from_bytes(hashed)) % _MODULUS
        return cls(count, digest)

    def __add__(self, other: Self) -> Self:
        digest = (self.digest + other.digest) % _MODULUS
        return type(self)(self.count + other.count, digest)

    def to_bytes(self) -> bytes:
        """For another rank."""
        return json.dumps([self.count, self.digest]).encode()

    @classmethod
    def from_bytes(cls, message: bytes) -> Self:
        """The inverse of `to_bytes`."""
        count, digest = json.loads(message)
        return cls(count, digest)


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """`database` is the kind, `where` the filter on its rows (empty for all of them), `shards`
    their number and `digest` that of the set of their ids, as 32 hexadecimal digits.

    The columns are no part of it: the same rows in the same order may be read with others.
    """

    database: str
    table: str
    where: str
    shards: int
    digest: str

    @classmethod
    def of(cls, source: DataSource, shards: ShardSet) -> Self:
        """Of the rows of `source`, read in `shards` by all ranks together."""
        where = source.options.get("where", "")
        digest = f"{shards.digest:0{2 * _DIGEST_BYTES}x}"
        return cls(source.kind, source.table, where, shards.count, digest)

    def __str__(self) -> str:
        """For a person.

        >>> str(Fingerprint("ignite", "T", "", 1024, "0f" * 16))
        'ignite table T in 1024 shards (0f0f0f0f)'
        """
        where = f" where {self.where}" if self.where else ""
        return (
            f"{self.database} table {self.table}{where} in {self.shards} shards ({self.digest[:8]})"
        )


@dataclass(frozen=True, slots=True)
class Origin:
    """Whose a record is. `run` is the UID of the job that wrote it: a job that is made again under
    the same name is another run. `data` is what its cursors count, None where nobody said.
    """

    run: str = ""
    data: Fingerprint | None = None


UNKNOWN = Origin()
"""Of a record that nobody gave an origin."""
