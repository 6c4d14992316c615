"""Which pod shows a token: asked of the API server once for each token.

What a token says of itself proves nothing, but is reason enough to refuse it without asking.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import math
import time
from collections import Counter, OrderedDict
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
_OF_ONE_POD = 2


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
    know which pods there are. Tokens of pods that have shown a good one before don't wait behind
    those of others, and those of one pod wait for each other.

    Args:
        reviews: The API server.
        audience: For whom the tokens have to be made.
        now: Seconds since the epoch of 1970, as in the tokens.
        most: Tokens to remember.
        at_once: Reviews under way at the same time, for pods that are known and for all others.
        waiting: Those that may wait for their turn, likewise.
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
        self._new, self._good = _Lane(at_once, waiting), _Lane(at_once, waiting)
        self._asking: Counter[str] = Counter()
        self._seen: OrderedDict[str, None] = OrderedDict()
        # By digest, so that no token lies about in memory.
        self._known: OrderedDict[bytes, tuple[Bearer | str, float]] = OrderedDict()

    def claimed(self, token: str) -> Bearer:
        """Whose it says it is.

        Raises:
            AuthenticationError: by its own words it is none that counts here; says why.
        """
        found = _claimed(token, self._audience, self._now())
        if isinstance(found, str):
            raise AuthenticationError(f"the token is not valid for {self._audience}: {found}")
        return found

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
            found = await self._turn(self.claimed(token).pod_uid, token)
            self._remember(digest, found, token)
        if isinstance(found, str):
            raise AuthenticationError(found)
        return found

    async def _turn(self, pod_uid: str, token: str) -> Bearer | str:
        lane = self._good if pod_uid in self._seen else self._new
        if self._asking[pod_uid] >= _OF_ONE_POD or lane.full:
            raise Busy("too many tokens are being reviewed")
        self._asking[pod_uid] += 1
        try:
            async with lane:
                found = await self._review(token)
        finally:
            self._asking[pod_uid] -= 1
            if not self._asking[pod_uid]:
                del self._asking[pod_uid]
        if isinstance(found, Bearer):
            self._seen[found.pod_uid] = None
            self._seen.move_to_end(found.pod_uid)
            if len(self._seen) > self._most:
                self._seen.popitem(last=False)
        return found

    async def _review(self, token: str) -> Bearer | str:
        body = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenReview",
            "spec": {"token": token, "audiences": [self._audience]},
        }
        review = await self._reviews.create(paths.token_reviews(), body)
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


class _Lane:
    """So many at once, and so many that wait."""

    def __init__(self, at_once: int, waiting: int) -> None:
        self._turn = asyncio.Semaphore(at_once)
        self._room = at_once + waiting
        self._inside = 0

    @property
    def full(self) -> bool:
        return self._inside >= self._room

    async def __aenter__(self) -> None:
        self._inside += 1
        try:
            await self._turn.acquire()
        except BaseException:
            self._inside -= 1
            raise

    async def __aexit__(self, *_: object) -> None:
        self._turn.release()
        self._inside -= 1


def _claimed(token: str, audience: str, now: float) -> Bearer | str:
    """Of which pod a token says it is, or why it can't count. Its claims: RFC 7519, and
    `kubernetes.io` (Kubernetes, Managing Service Accounts, bound tokens).
    """
    try:
        claims = _claims(token)
        meant = claims.get("aud")
        ours = claims.get("kubernetes.io") or {}
        pod = ours.get("pod")
        if audience not in ([meant] if isinstance(meant, str) else meant or ()):
            return "it is for another audience"
        if not pod:
            return "it is not a pod's: show one of a projected volume (serviceAccountToken)"
        if now >= float(claims.get("exp", math.inf)):
            return "the token has expired"
        return Bearer(str(ours["namespace"]), str(pod["name"]), str(pod["uid"]))
    except (AttributeError, IndexError, KeyError, TypeError, ValueError, RecursionError):
        return "it is no token of Kubernetes"


def _expiry(token: str, now: float) -> float:
    """When a token that was found good ends."""
    try:
        return float(_claims(token)["exp"])
    except (IndexError, KeyError, TypeError, ValueError):
        return now + _UNDATED_SECONDS


def _claims(token: str) -> dict[str, Any]:
    _header, claims, _signature = token.split(".")
    found: dict[str, Any] = json.loads(base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4)))
    return found
