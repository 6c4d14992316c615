"""From a manifest to everything that a run on this machine needs."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from insitu.api import SecretFiles, TrainingJob, data_source, load_manifest
from insitu.databases import DataSource
from insitu.errors import ConfigurationError
from insitu_operator.core.stores import s3_url
from insitu_operator.local.environment import store_environment
from insitu_operator.local.folder import JobFolder
from insitu_operator.local.secret_files import secret_files

START_DEADLINE_SECONDS = 60
"""Somebody sits and waits for a local run, so it does not wait for ever."""


@dataclass(frozen=True)
class Prepared:
    """A valid job, and where its things are on this machine. `store` is a URL."""

    job: TrainingJob
    workdir: Path
    folder: JobFolder
    source: DataSource
    secret: SecretFiles
    store: str

    @property
    def name(self) -> str:
        return self.job.metadata.name

    def of_run(self, uid: str) -> Prepared:
        """The same, with the UID that Kubernetes would have given the job."""
        metadata = self.job.metadata.model_copy(update={"uid": uid})
        return replace(self, job=self.job.model_copy(update={"metadata": metadata}))


def stored(manifest: Path, store: str | None, secrets: Mapping[str, Path]) -> tuple[str, str]:
    """Name and store of the job in `manifest`, whose database need not be in reach from here.

    Raises:
        ConfigurationError: with all that is wrong with the manifest, or a Secret is missing.
    """
    job = load_manifest(manifest)
    workdir = manifest.resolve().parent
    return job.metadata.name, _store(
        job, _folder(workdir, job), secret_files(workdir, secrets), store
    )


def prepare(manifest: Path, store: str | None, secrets: Mapping[str, Path]) -> Prepared:
    """Reads the manifest and opens its references; `store` is a folder or URL of the user's.

    Raises:
        ConfigurationError: with all that is wrong with the manifest, or a Secret is missing.
    """
    job = load_manifest(manifest)
    spec = job.spec
    if spec.suspend:
        raise ConfigurationError(
            f"{manifest}: spec.suspend is true; set it to false to run the job"
        )
    workdir = manifest.resolve().parent
    secret = secret_files(workdir, secrets)
    source = data_source(spec.data, secret, _no_service)
    folder = _folder(workdir, job)
    here = {
        "managed_by": None,
        "start_deadline_seconds": spec.start_deadline_seconds or START_DEADLINE_SECONDS,
    }
    job = job.model_copy(update={"spec": spec.model_copy(update=here)})
    return Prepared(job, workdir, folder, source, secret, _store(job, folder, secret, store))


def directory_url(folder: Path) -> str:
    """As `insitu.checkpoint.store` reads it: the path as it is."""
    return f"file://{folder.resolve()}"


def _folder(workdir: Path, job: TrainingJob) -> JobFolder:
    return JobFolder(workdir / ".insitu" / job.metadata.name)


def _store(job: TrainingJob, folder: JobFolder, secret: SecretFiles, given: str | None) -> str:
    asked = job.spec.checkpoint.store
    s3 = asked.s3 if asked else None
    # Stores are opened by the environment, here as in a trainer.
    os.environ.update(store_environment(s3, secret))
    if given is not None:
        return given if "://" in given else directory_url(Path(given))
    if s3 is not None:
        return s3_url(s3)
    return directory_url(folder.checkpoints)


def _no_service(name: str, port: int) -> tuple[tuple[str, int], ...]:
    raise ConfigurationError(
        f"spec.data names the Kubernetes Service {name}:{port}, which this machine can't look up;"
        " on one machine spec.data needs endpoints, as in endpoints: ['127.0.0.1:10800']"
    )
