"""`insitu tensorboard`: the curves of jobs, out of their store."""

from __future__ import annotations

import importlib.util
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import click

from insitu.checkpoint import Store, open_store
from insitu.errors import ConfigurationError, StoreError
from insitu.scalars import Mirror, Run
from insitu_operator.cli import options
from insitu_operator.cli.failures import explained
from insitu_operator.local.prepare import directory_url, stored

_STOP_SECONDS = 10.0


@click.command(context_settings={"ignore_unknown_options": True})
@click.argument("job", metavar="FILE|DIR|NAME")
@click.argument("more", metavar="[-- TENSORBOARD OPTIONS]", nargs=-1, type=click.UNPROCESSED)
@options.store
@options.secrets
@click.option("--port", type=int, default=6006, show_default=True, help="0 takes a free one.")
@click.option(
    "--logdir",
    type=click.Path(file_okay=False, path_type=Path),
    help="Keeps the event files here; a folder <job> in it is replaced. Default: a temporary one.",
)
@click.option("--sync-only", is_flag=True, help="Only brings the event files to --logdir.")
@click.option(
    "--every", type=click.FloatRange(min=0.1), default=10.0, help="Seconds from look to look."
)
@explained
def tensorboard(
    job: str,
    more: tuple[str, ...],
    store: str | None,
    secrets: tuple[str, ...],
    port: int,
    logdir: Path | None,
    sync_only: bool,
    every: float,
) -> None:
    """Shows the curves of the TrainingJob in FILE, of every job in the store DIR, or of the job
    NAME in --store, and follows those that are still training.

    Steps that a restart made again are drawn once: each generation is a run of its own, and ends
    where the next one went on.
    """
    opened, names = _jobs(job, store, options.named_folders(secrets))
    if sync_only:
        if logdir is None:
            raise ConfigurationError("--sync-only brings the event files to --logdir DIR: give it")
        for name, mirror in _mirrors(opened, names, logdir).items():
            click.echo(f"{name}: {_told(mirror.update())}")
        return
    if importlib.util.find_spec("tensorboard") is None:
        raise ConfigurationError(
            "TensorBoard is not installed: pip install 'insitu-operator[tensorboard]', or bring "
            "the event files to where it is with --sync-only --logdir DIR"
        )
    with _folder(logdir) as target:
        mirrors = _mirrors(opened, names, target)
        found = {name: mirror.update() for name, mirror in mirrors.items()}
        for name, runs in found.items():
            click.echo(f"{name}: {_told(runs)}")
        command = [sys.executable, "-m", "tensorboard.main", "--logdir", str(target)]
        _serve([*command, "--port", str(port), *more], list(mirrors.values()), every)


def _jobs(job: str, store: str | None, secrets: Mapping[str, Path]) -> tuple[Store, Sequence[str]]:
    """The store, and the jobs in it that were asked for."""
    place = Path(job)
    if place.is_dir():
        names = sorted(path.parent.name for path in place.glob("*/events"))
        if not names:
            raise ConfigurationError(f"{place} is no store with curves: no job has events there")
        return open_store(directory_url(place)), names
    if place.exists():
        name, url = stored(place, store, secrets)
        return open_store(url), [name]
    if store is None:
        raise ConfigurationError(
            f"there is no file {job}; for the job of that name say where it commits: --store"
            " DIR|URL"
        )
    return open_store(store if "://" in store else directory_url(Path(store))), [job]


def _mirrors(store: Store, names: Sequence[str], target: Path) -> dict[str, Mirror]:
    return {name: Mirror(store, name, target) for name in names}


def _told(runs: Sequence[Run]) -> str:
    return ", ".join(run.name for run in runs) or "nothing was recorded yet"


@contextmanager
def _folder(given: Path | None) -> Iterator[Path]:
    if given is not None:
        given.mkdir(parents=True, exist_ok=True)
        yield given
        return
    with tempfile.TemporaryDirectory(prefix="insitu-tensorboard-") as folder:
        yield Path(folder)


def _serve(command: Sequence[str], mirrors: Sequence[Mirror], every: float) -> None:
    """TensorBoard until it ends or is interrupted; the mirrors are kept up to date meanwhile."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # It ends with this process.
    with subprocess.Popen(command) as server:
        try:
            while True:
                try:
                    code = server.wait(every)
                except subprocess.TimeoutExpired:
                    _update(mirrors)
                    continue
                raise click.exceptions.Exit(code)
        finally:
            server.terminate()
            try:
                server.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                server.kill()


def _update(mirrors: Sequence[Mirror]) -> None:
    try:
        for mirror in mirrors:
            mirror.update()
    except StoreError as error:  # What is there can be looked at still; it is tried again.
        click.echo(f"insitu: {error}", err=True)
