"""What the API server refused or could not do, as one kind of error."""

from __future__ import annotations

from insitu.errors import InsituError
from insitu_operator.kubernetes.paths import Target

FENCED = "NotLeading"
_UNANSWERED = 0


class ApiProblem(InsituError):
    """A request that did not do what was asked; its text is a sentence for a person.

    Args:
        verb: As a Role names it: get, list, create, update, patch, delete, deletecollection.
        target: What the request was about.
        status: Of HTTP; 0 when no answer came.
        reason: One word of the API server, such as `AlreadyExists`.
        message: What it said, or why there was no answer.
        retry_after: How many seconds it wants to be left alone.
    """

    def __init__(
        self,
        verb: str,
        target: Target,
        status: int,
        reason: str,
        message: str,
        retry_after: float | None = None,
    ) -> None:
        self.verb = verb
        self.target = target
        self.status = status
        self.reason = reason
        self.message = message
        self.retry_after = retry_after
        super().__init__(self._sentence())

    @property
    def resource(self) -> str:
        """The plural, such as `pods`."""
        return self.target.resource

    @property
    def namespace(self) -> str:
        return self.target.namespace

    @property
    def name(self) -> str:
        """Empty when the request was about a collection."""
        return self.target.name

    @property
    def absent(self) -> bool:
        return self.status == 404

    @property
    def exists(self) -> bool:
        """Somebody has created an object of this name before."""
        return self.status == 409 and self.reason == "AlreadyExists"

    @property
    def conflict(self) -> bool:
        """The object is another one by now, or another version: read it again."""
        return self.status == 409 and self.reason != "AlreadyExists"

    @property
    def invalid(self) -> bool:
        return self.status == 422

    @property
    def quota(self) -> bool:
        return self.status == 403 and "exceeded quota" in self.message

    @property
    def forbidden(self) -> bool:
        """The operator's own rights don't reach: no Role grants the verb."""
        return self.status == 403 and "cannot " in self.message and "User " in self.message

    @property
    def namespace_ending(self) -> bool:
        """Nothing can be created, because the namespace is being deleted."""
        return self.status == 403 and "being terminated" in self.message

    @property
    def fenced(self) -> bool:
        """It was not sent: this process does not lead any more."""
        return self.reason == FENCED

    @property
    def transient(self) -> bool:
        """The API server could not answer; the same request may work in a moment."""
        return self.status in (_UNANSWERED, 408, 429) or self.status >= 500

    def _sentence(self) -> str:
        asked = f"{self.verb} {self.target}"
        if self.fenced:
            return f"the operator did not {asked}: {self.message}"
        if self.status == _UNANSWERED:
            return f"the API server did not answer to {asked}: {self.message}"
        if self.forbidden:
            right = f"grant its service account the verb {self.verb} on {self.target.granted}"
            return f"the operator may not {asked}: {right}. The API server said: {self.message}"
        if self.absent:
            return f"can't {asked}: it does not exist ({self.message})"
        return f"the API server refused to {asked}: {self.message} ({self.status} {self.reason})"
