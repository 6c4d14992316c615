"""One line of JSON an event, on standard error."""

from __future__ import annotations

import json
import logging
import re
import sys
from collections.abc import Mapping
from datetime import UTC, datetime

from insitu_operator.shell.key import Key

# Whatever looks like a token (RFC 6750, RFC 7519); no message should hold one.
_TOKEN = re.compile(r"(?i:\bbearer\s+)[\w.~+/=-]+|\beyJ[\w-]{10,}\.[\w-]+(\.[\w-]+)?")
_FIELDS = ("namespace", "job", "generation")
# Libraries that have a line for every event, at a level at which the operator speaks.
_TALKATIVE = ("kopf", "aiohttp.access", "asyncio")


class JsonLines(logging.Formatter):
    """`{"time": ..., "level": ..., "logger": ..., "message": ..., "namespace": ..., "job": ...}`;
    an exception is in `error`.
    """

    def format(self, record: logging.LogRecord) -> str:
        at = datetime.fromtimestamp(record.created, UTC)
        line: dict[str, object] = {
            "time": at.isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        line |= {name: vars(record)[name] for name in _FIELDS if name in vars(record)}
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return _TOKEN.sub("<token>", json.dumps(line, default=str, ensure_ascii=False))


def configure(level: str) -> None:
    """Of this whole process: from `level` on, everything goes to standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    for name in _TALKATIVE:
        logging.getLogger(name).setLevel(logging.WARNING)


def about(key: Key, generation: int | None = None) -> Mapping[str, object]:
    """As `extra` of a log call: which job it is about."""
    fields: dict[str, object] = {"namespace": key.namespace, "job": key.name}
    return fields if generation is None else fields | {"generation": generation}
