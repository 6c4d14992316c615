"""A job's event files on this machine, as TensorBoard reads them: a folder a run, one file in it.

A run's file grows at its end, as that of a living training does. When a newer generation takes
over, the run's name changes with what it shows, so that TensorBoard forgets the steps that were
repeated.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from insitu.checkpoint import Store
from insitu.checkpoint.parts import check_job
from insitu.scalars.segments import Run, Segment, runs, segments_of

_FILE: Final = "events.out.tfevents.0000000000.insitu"
_AT_A_TIME: Final = 16


class Mirror:
    """Brings the curves of `job` from `store` to the folder of its name in `folder`, which it
    begins anew.

    Raises:
        ConfigurationError: no job has such a name.
    """

    def __init__(self, store: Store, job: str, folder: Path) -> None:
        check_job(job)
        self._store = store
        self._job = job
        self._target = folder / job
        self._shown: dict[str, tuple[Segment, ...]] = {}
        shutil.rmtree(self._target, ignore_errors=True)

    def update(self) -> list[Run]:
        """Fetches what is new, and removes what newer generations repeated.

        Returns:
            The runs there are now.

        Raises:
            StoreError: the store can't be read.
            OSError: the target can't be written.
        """
        names = [entry.name for entry in self._store.list(segments_of(self._job))]
        found = runs([s for name in names if (s := Segment.parse(self._job, name))])
        wanted = {run.name: run for run in found}
        for name in self._shown.keys() - wanted.keys():
            shutil.rmtree(self._target / name, ignore_errors=True)
            del self._shown[name]
        for name, run in wanted.items():
            shown = self._shown.get(name, ())
            # Only what comes behind: a file that is read already can't change in its middle.
            fresh = [s for s in run.segments if not shown or s > shown[-1]]
            self._append(self._target / name / _FILE, fresh)
            self._shown[name] = (*shown, *fresh)
        return found

    def _append(self, path: Path, segments: Sequence[Segment]) -> None:
        if not segments:
            return
        with ThreadPoolExecutor(_AT_A_TIME) as pool:
            names = [segment.name(self._job) for segment in segments]
            whole = b"".join(data for data in pool.map(self._store.get, names) if data is not None)
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab") as file:
            file.write(whole)
