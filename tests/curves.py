"""What TensorBoard's own reader finds in mirrored event files; needs no TensorFlow."""

from __future__ import annotations

from pathlib import Path

from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.tensorflow_stub.pywrap_tensorflow import PyRecordReader_New

from insitu.checkpoint import Store
from insitu.scalars import Mirror

Curve = list[tuple[int, float]]


def curves(store: Store, folder: Path, tag: str = "loss") -> dict[str, Curve]:
    """The points of each run of the job `job` in `store`, brought to `folder`."""
    Mirror(store, "job", folder).update()
    return drawn(folder, tag)


def drawn(folder: Path, tag: str = "loss") -> dict[str, Curve]:
    """The points of each run, as TensorBoard's own reader finds them."""
    return {
        path.parent.name: [
            (event.step, value.simple_value)
            for event in events(path)
            for value in event.summary.value
            if value.tag == tag
        ]
        for path in sorted(folder.glob("job/*/*tfevents*"))
    }


def events(path: Path) -> list[Event]:
    reader = PyRecordReader_New(str(path))
    found: list[Event] = []
    while True:
        try:
            reader.GetNext()
        except Exception as error:  # noqa: BLE001 - its own class, of the same name as TensorFlow's
            assert type(error).__name__ == "OutOfRangeError"  # noqa: PT017
            return found
        found.append(Event.FromString(reader.record()))
