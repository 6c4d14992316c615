"""Everything is read once and compared with what the watches have shown.

At the start it fills the caches; later it finds what a watch that began anew could not show, above
all deletions. Jobs are marked only for differences: a look at each would cost a request or two.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextlib import suppress

from insitu.api import GROUP, KIND, VERSION
from insitu_operator.core.objects.names import OTHERS, OURS
from insitu_operator.kubernetes import Api, ApiProblem, Json, paths
from insitu_operator.shell.watching.sight import Sight

log = logging.getLogger(__name__)

EVERY_SECONDS = 600.0
_QUIET_SECONDS = 2.0
_PATIENCE_SECONDS = 60.0
"""The objects that a watch lists anew trickle in, and one comparison after them is enough."""

_KIND = {"apiVersion": f"{GROUP}/{VERSION}", "kind": KIND}
"""Which the objects of a list lack."""


class Resync:
    """Args:
    api: Asked for lists, in pages.
    sight: What is compared, and corrected.
    namespaces: Whose objects, besides nodes; empty for all.
    every_seconds: After which everything is compared in any case.
    """

    def __init__(
        self,
        api: Api,
        sight: Sight,
        namespaces: Sequence[str] = (),
        every_seconds: float = EVERY_SECONDS,
    ) -> None:
        self._api = api
        self._sight = sight
        self._namespaces = tuple(namespaces)
        self._every = every_seconds
        self._asked = asyncio.Event()

    def ask(self) -> None:
        """A watch began anew: compares soon."""
        self._asked.set()

    async def once(self) -> None:
        """Compares now.

        Raises:
            ApiProblem: not everything could be read, and nothing was compared.
        """
        known = self._sight.known()
        self._sight.compare(
            known,
            nodes=await self._api.list(paths.nodes()),
            slices=await self._everywhere(paths.endpoint_slices, OTHERS),
            jobs=[_KIND | job for job in await self._everywhere(paths.training_jobs)],
            pods=await self._everywhere(paths.pods, OURS),
        )

    async def run(self) -> None:
        """Compares whenever it is asked, and every so often."""
        while True:
            if await self._asked_within(self._every):
                with suppress(TimeoutError):
                    async with asyncio.timeout(_PATIENCE_SECONDS):
                        while await self._asked_within(_QUIET_SECONDS):
                            """More of it comes."""
            try:
                await self.once()
            except ApiProblem as problem:
                log.warning("not everything could be compared: %s", problem)
                self._asked.set()

    async def _asked_within(self, seconds: float) -> bool:
        try:
            async with asyncio.timeout(seconds):
                await self._asked.wait()
        except TimeoutError:
            return False
        self._asked.clear()
        return True

    async def _everywhere(
        self, collection: Callable[[str | None], str], labels: str = ""
    ) -> list[Json]:
        found: list[Json] = []
        for namespace in self._namespaces or (None,):
            found += await self._api.list(collection(namespace), labels=labels)
        return found
