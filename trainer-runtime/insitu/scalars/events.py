"""Event files of TensorBoard, as bytes; by tensorboardX, which needs neither it nor TensorFlow."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

_VERSION: Final = "brain.Event:2"


class Scalars(NamedTuple):
    """Numbers by their names, after update number `step`; `time` in seconds since 1970."""

    step: int
    time: float
    values: Mapping[str, float]


def encode(steps: Sequence[Scalars]) -> bytes:
    """A whole event file. Several of them, one after the other, are one again.

    Raises:
        OSError: the temporary folder can't be written.
    """
    # Imported where it is used: it takes as long as a small job's first steps.
    from tensorboardX.proto.event_pb2 import Event
    from tensorboardX.proto.summary_pb2 import Summary
    from tensorboardX.record_writer import RecordWriter

    with tempfile.NamedTemporaryFile(prefix="insitu-") as file:
        writer = RecordWriter(file.name)
        begin = steps[0].time if steps else 0.0
        writer.write(Event(wall_time=begin, file_version=_VERSION).SerializeToString())
        for step, time, values in steps:
            named = [Summary.Value(tag=tag, simple_value=v) for tag, v in values.items()]
            event = Event(wall_time=time, step=step, summary=Summary(value=named))
            writer.write(event.SerializeToString())
        writer.close()
        return Path(file.name).read_bytes()
