"""Which pod shows a token: asked of the API server once for each token."""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import json
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from insitu.errors import AuthenticationError, InsituError
from insitu_operator.kubernetes import paths

_POD_NAME = "authentication.kubernetes.io/pod-name"
_POD_UID = "authentication.kubernetes.io/pod-uid"
_ACCOUNT = "system:serviceaccount:"

_REFUSED_SECONDS = 10.0
_UNDATED_SECONDS = 60.0


class Reviews(Protocol):
    """The part of the API server that is asked."""

    async def create(self, path: str, body: dict[str, Any]) -> dict[str, Any]: ...


class Busy(InsituError):
    """Too many unknown tokens at once: try again."""


@dataclass(frozen=True, slots=True)
class Bearer:
    """The pod that a token was made for."""

    namespace: str
    pod: str
    pod_uid: str


class Tokens:
    """Reviews tokens, and remembers each until it expires (a refusal for some seconds).

    A pod that is gone takes its tokens with it only for the API server: whoever asks here has to
    know which pods there are.

    Args:
        reviews: The API server.
        audience: For whom the tokens have to be made.
        now: Seconds since the epoch of 1970, as in the tokens.
        most: Tokens to remember.
        at_once: Reviews under way at the same time.
        waiting: Those that may wait for their turn.
    """

    def __init__(
        self,
        reviews: Reviews,
        audience: str,
        now: Callable[[], float] = time.time,
        *,
        most: int = 20_000,
        at_once: int = 8,
        waiting: int = 200,
    ) -> None:
        self._reviews = reviews
        self._audience = audience
        self._now = now
        self._most = most
        self._turn = asyncio.Semaphore(at_once)
        self._room = at_once + waiting
        self._asking = 0
        # By digest, so that no token lies about in memory.
        self._known: OrderedDict[bytes, tuple[Bearer | str, float]] = OrderedDict()

    async def bearer(self, token: str) -> Bearer:
        """Whose token it is.

        Raises:
            AuthenticationError: nobody's, or not for this audience, or not a pod's; says why.
            Busy: too many others are being reviewed.
            ApiProblem: the API server did not review it.
        """
        digest = hashlib.sha256(token.encode()).digest()
        found = self._remembered(digest)
        if found is None:
            found = await self._review(token)
            self._remember(digest, found, token)
        if isinstance(found, str):
            raise AuthenticationError(found)
        return found

    async def _review(self, token: str) -> Bearer | str:
        if self._asking >= self._room:
            raise Busy("too many tokens are being reviewed")
        self._asking += 1
        try:
            async with self._turn:
                body = {
                    "apiVersion": "authentication.k8s.io/v1",
                    "kind": "TokenReview",
                    "spec": {"token": token, "audiences": [self._audience]},
                }
                review = await self._reviews.create(paths.token_reviews(), body)
        finally:
            self._asking -= 1
        return _bearer(review.get("status", {}), self._audience)

    def _remembered(self, digest: bytes) -> Bearer | str | None:
        found, until = self._known.get(digest, (None, 0.0))
        if found is None:
            return None
        if self._now() >= until:
            del self._known[digest]
            return None
        self._known.move_to_end(digest)
        return found

    def _remember(self, digest: bytes, found: Bearer | str, token: str) -> None:
        now = self._now()
        until = now + _REFUSED_SECONDS if isinstance(found, str) else _expiry(token, now)
        self._known[digest] = (found, until)
        if len(self._known) > self._most:
            self._known.popitem(last=False)


def _bearer(status: dict[str, Any], audience: str) -> Bearer | str:
    """Whose token was reviewed, or why it is refused."""
    if not status.get("authenticated"):
        why = status.get("error") or "the API server does not know it"
        return f"the token is not valid for {audience}: {why}"
    # An API server that knows no audiences ignores the one that was asked for.
    if audience not in status.get("audiences", ()):
        return f"the token is not valid for {audience}: it is for anybody"
    user = status.get("user", {})
    extra = user.get("extra", {})
    account = str(user.get("username", "")).removeprefix(_ACCOUNT)
    names, uids = extra.get(_POD_NAME, ()), extra.get(_POD_UID, ())
    if not uids or not names or "/" in account or ":" not in account:
        return "the token is not a pod's: show one of a projected volume (serviceAccountToken)"
    return Bearer(namespace=account.split(":")[0], pod=names[0], pod_uid=uids[0])


def _expiry(token: str, now: float) -> float:
    """When a token that was found good ends. Its claims: RFC 7519."""
    try:
        claims = token.split(".")[1]
        padded = claims + "=" * (-len(claims) % 4)
        return float(json.loads(base64.urlsafe_b64decode(padded))["exp"])
    except (IndexError, KeyError, TypeError, ValueError, binascii.Error):
        return now + _UNDATED_SECONDS
