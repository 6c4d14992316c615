"""Which event files a job has in its store, and what of them is still true: names only.

    <job>/events/<fence>-generation-<generation>-after-<step>/<sequence>-<first>-<last>.tfevents

`fence` is the number in the commit log where the generation began, and says which of two is newer:
a job that is made again under its name counts its generations anew. `first` and `last` are steps.
A segment is written whole, once. `after` is the step of the commit that its generation went on
from: whatever older generations did beyond it never became part of the model, and its steps were
made again. No segment reaches from before a commit to behind it, so that they are whole segments.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Final

_FOLDER: Final = "events"
_NAME = re.compile(
    r"(?P<fence>\d+)-generation-(?P<generation>\d+)-after-(?P<after>\d+)"
    r"/(?P<sequence>\d+)-(?P<first>\d+)-(?P<last>\d+)\.tfevents"
)


@dataclass(frozen=True, slots=True, order=True)
class Segment:
    """A closed event file, of the steps `first` to `last` of a generation."""

    fence: int
    generation: int
    after: int
    sequence: int
    first: int
    last: int

    def name(self, job: str) -> str:
        """Of its object in the store."""
        return (
            f"{segments_of(job)}/{self.fence:012d}-generation-{self.generation:06d}"
            f"-after-{self.after:012d}"
            f"/{self.sequence:06d}-{self.first:012d}-{self.last:012d}.tfevents"
        )

    @classmethod
    def parse(cls, job: str, name: str) -> Segment | None:
        """What `name` gave a name to; None for any other object."""
        found = _NAME.fullmatch(name.removeprefix(f"{segments_of(job)}/"))
        return None if found is None else cls(**{k: int(v) for k, v in found.groupdict().items()})


@dataclass(frozen=True, slots=True)
class Run:
    """What is to be seen of one generation; `until` is its last step that counts, None where
    nobody has overtaken it. `life` is 1, and one more each time that the job was made again. A
    name never stands for other curves, it only grows.
    """

    life: int
    generation: int
    until: int | None
    segments: tuple[Segment, ...]

    @property
    def name(self) -> str:
        """As TensorBoard shows it."""
        end = "" if self.until is None else f"-to-step-{self.until}"
        begin = "" if self.life == 1 else f"run-{self.life}-"
        return f"{begin}generation-{self.generation}{end}"


def segments_of(job: str) -> str:
    """Where the segments of a job lie in its store."""
    return f"{job}/{_FOLDER}"


def runs(segments: Sequence[Segment]) -> list[Run]:
    """One for each generation that has something to show, without the steps that others repeated.

    >>> first = [Segment(0, 1, 0, n, 3 * n + 1, 3 * n + 3) for n in range(3)]
    >>> [(run.name, len(run.segments)) for run in runs([*first, Segment(4, 2, 6, 0, 7, 9)])]
    [('generation-1-to-step-6', 2), ('generation-2', 1)]
    """
    found: list[Run] = []
    until: int | None = None
    starts = sorted({(segment.fence, segment.generation) for segment in segments})
    lives = list(accumulate((b[1] <= a[1] for a, b in pairwise(starts)), initial=1))
    for (fence, generation), life in zip(reversed(starts), reversed(lives), strict=False):
        mine = sorted(segment for segment in segments if segment.fence == fence)
        counting = tuple(s for s in mine if until is None or s.first <= until)
        if counting:
            found.append(Run(life, generation, until, counting))
        after = mine[0].after
        until = after if until is None else min(until, after)
    return found[::-1]
