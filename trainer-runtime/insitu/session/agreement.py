"""Where in its script each rank is: told to all others whenever they meet, and compared.

A rank that left its `with` block answers in the very exchange in which the others wait for it.
So all of them learn at once that they disagree, and which ranks do what, instead of taking the one
that left for lost.
"""

from __future__ import annotations

from collections.abc import Sequence

from insitu.data.cursor import Taken
from insitu.data.quota import Remaining
from insitu.errors import ConfigurationError
from insitu.session.collective import (
    NOTHING_LEFT,
    Collective,
    Exchange,
    Intent,
    Share,
    Wish,
)
from insitu.topology import ShardId

#: What a rank says that ends its session while no batches are being taken.
ENDED = b"ended"


class Agreement:
    """What a session says to those of the other ranks between two steps.

    Attributes:
        wish: What this rank asks all of them for.
    """

    def __init__(self, collective: Collective) -> None:
        self.wish = Wish.GO_ON
        self._collective = collective
        self._exchange: Exchange | None = None

    @property
    def taking(self) -> bool:
        """Whether batches are being taken; the other ranks are in the same state."""
        return self._exchange is not None

    def begin(self, shards: Sequence[ShardId]) -> None:
        """From now on batches are taken, of `shards`, those of all ranks."""
        self._exchange = Exchange(self._collective, shards)

    def finish(self) -> None:
        """No further batch will be taken; granted wishes are over."""
        self._exchange = None
        self.wish = Wish.GO_ON

    def take(
        self, rows: int, remaining: Remaining, taken: tuple[Taken, ...], step: int
    ) -> list[Share]:
        """The shares of all ranks; `step` is the last update.

        Where a wish is to be granted some of them may have left their `with` block.

        Raises:
            ConfigurationError: another rank is somewhere else in its script.
        """
        shares = self._say(Share(rows, remaining, self.wish, taken))
        _check([share.intent for share in shares], max(share.wish for share in shares), step)
        return shares

    def update(self, step: int) -> None:
        """Raises `ConfigurationError` where not all ranks go on to an update after `step`."""
        shares = self._say(Share(0, NOTHING_LEFT, self.wish, intent=Intent.UPDATE))
        _check([share.intent for share in shares], Wish.GO_ON, step)

    def end(self, step: int) -> Wish | None:
        """This rank left its `with` block after update `step`.

        Returns:
            None where all ranks did; otherwise what the others, who are asked to end their
            batches, were asked for: do the same, and say so again.

        Raises:
            ConfigurationError: other ranks go on.
        """
        if self._exchange is None:
            messages = self._collective.all_gather_bytes(ENDED)
            refuse_ended(messages)
            return None
        shares = self._say(Share(0, NOTHING_LEFT, self.wish, intent=Intent.END))
        intents = [share.intent for share in shares]
        if all(intent is Intent.END for intent in intents):
            return None
        wish = max(share.wish for share in shares)
        _check(intents, wish, step)
        return wish

    def _say(self, share: Share) -> list[Share]:
        assert self._exchange is not None
        return self._exchange(share)


def refuse_ended(messages: Sequence[bytes]) -> None:
    """Raises `ConfigurationError` where some ranks ended their session, and others did not."""
    ended = [rank for rank, message in enumerate(messages) if message == ENDED]
    if 0 < len(ended) < len(messages):
        others = [rank for rank in range(len(messages)) if rank not in ended]
        raise ConfigurationError(
            f"ranks disagree: {_ranks(ended)} left its `with` block, and {_ranks(others)} asked "
            "for batches. All ranks have to run the same script"
        )


def _check(intents: Sequence[Intent], wish: Wish, step: int) -> None:
    """Ranks that wait for a batch and those that left can still grant a wish together."""
    if len(set(intents)) == 1 or (wish is not Wish.GO_ON and Intent.UPDATE not in intents):
        return
    found = {intent: [r for r, i in enumerate(intents) if i is intent] for intent in intents}
    said = ", and ".join(f"{_ranks(ranks)} {intent}" for intent, ranks in sorted(found.items()))
    raise ConfigurationError(
        f"ranks disagree about how to go on after step {step}: {said}. Leave the loop on all "
        "ranks after the same step; session.stop(), called on any of them, does that for all"
    )


def _ranks(ranks: Sequence[int]) -> str:
    if len(ranks) == 1:
        return f"rank {ranks[0]}"
    shown = [*map(str, ranks[:8]), *(["..."] if len(ranks) > 8 else [])]
    return f"each of ranks {', '.join(shown)}"
