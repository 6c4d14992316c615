"""How passes went, for logs and metrics."""

from __future__ import annotations

import logging

from insitu.errors import InsituError
from insitu_operator.kubernetes import ApiProblem
from insitu_operator.shell.key import Key
from insitu_operator.shell.logs import about
from insitu_operator.shell.metrics import Metrics

_log = logging.getLogger(__name__)


class PassListener:
    """What a queue tells goes to the log and into the metrics."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def passed(self, _key: Key, seconds: float) -> None:
        self._metrics.passed(seconds)

    def failed(self, key: Key, seconds: float, error: Exception, retry_seconds: float) -> None:
        self._metrics.failed(seconds)
        again = f"again in {retry_seconds:.1f} s"
        if isinstance(error, InsituError):
            expected = isinstance(error, ApiProblem) and (error.conflict or error.fenced)
            level = logging.DEBUG if expected else logging.WARNING
            _log.log(level, "a pass failed, %s: %s", again, error, extra=about(key))
        else:
            _log.error("a pass broke, %s", again, exc_info=error, extra=about(key))
