"""TensorFlow's own side of a generation: its servers, its strategy, and sums over all ranks."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final

from insitu.contract import Assignment, is_assigned
from insitu.contract.ports import free_port
from insitu.contract.tf_config import Workers, format_addresses, read_tf_config
from insitu.errors import ConfigurationError, PeerLost
from insitu.tensorflow.link import Link
from insitu.tensorflow.meeting import own_address

#: TensorFlow may crash when a collective of its own runs into a time-out; see patience.py.
_LAST_RESORT_SECONDS: Final = 3600.0


def addresses(assignment: Assignment, link: Link, environ: Mapping[str, str]) -> Workers:
    """Where TensorFlow's servers of all ranks listen: as the assignment says, else as TF_CONFIG
    does where nothing else says who the ranks are, else as they agree now.

    In Kubernetes Insitu's own TF_CONFIG has host names, for scripts that use it by themselves.
    A name may take a while to be known everywhere; the addresses that ranks agree on are known.

    Raises:
        ConfigurationError: TF_CONFIG is about other ranks than were assigned.
        PeerLost: a rank went away.
    """
    said = read_tf_config(environ)
    if said is not None:
        workers, index = said
        if (len(workers), index) != (assignment.world_size, assignment.rank):
            raise ConfigurationError(
                f"TF_CONFIG says worker {index} of {len(workers)}, but this process was assigned "
                f"rank {assignment.rank} of {assignment.world_size}"
            )
    if assignment.workers:
        return assignment.workers
    if said is not None and not is_assigned(environ):
        return said[0]
    mine = f"{own_address(assignment)}:{free_port()}"
    found = [each.decode().rpartition(":") for each in link.all_gather_bytes(mine.encode())]
    return tuple((host, int(port)) for host, _, port in found)


def make_strategy(tf: Any, workers: Workers, rank: int, join_seconds: float) -> Any:
    """`MultiWorkerMirroredStrategy` over `workers`; TensorFlow's default one for a single worker.

    The workers have to be there: TensorFlow waits for them without letting Python run, so SIGALRM
    ends the process when that takes longer than `join_seconds`.

    Raises:
        ConfigurationError: this TensorFlow has no such strategy, or was used before.
    """
    if len(workers) <= 1:
        return tf.distribute.get_strategy()
    if not hasattr(tf.distribute, "MultiWorkerMirroredStrategy"):
        raise ConfigurationError(
            f"TensorFlow {tf.__version__} has no MultiWorkerMirroredStrategy: use a build with it, "
            "or one worker"
        )
    cluster = tf.train.ClusterSpec({"worker": format_addresses(workers)})
    resolver = tf.distribute.cluster_resolver.SimpleClusterResolver(
        cluster, task_type="worker", task_id=rank, rpc_layer="grpc"
    )
    try:
        with _alarm(join_seconds):
            return tf.distribute.MultiWorkerMirroredStrategy(
                cluster_resolver=resolver, communication_options=_options(tf)
            )
    except RuntimeError as error:
        raise ConfigurationError(
            "TensorFlow was used before its workers were joined: open insitu.tensorflow.session() "
            f"before any tensor, variable or model is made ({error})"
        ) from error
    except tf.errors.OpError as error:
        raise PeerLost(f"TensorFlow's workers did not meet: {first_line(error)}") from error


def add(tf: Any, strategy: Any, tensors: Sequence[Any]) -> Sequence[Any]:
    """Each of `tensors` summed over all ranks; inside of a `tf.function`."""
    if strategy.num_replicas_in_sync == 1:
        return tensors

    def on_replica(mine: Sequence[Any]) -> Any:
        # What comes from outside has no device, which the reduction asks for.
        here = [tf.identity(tensor) for tensor in mine]
        return tf.distribute.get_replica_context().all_reduce(
            tf.distribute.ReduceOp.SUM, here, _options(tf)
        )

    total: Sequence[Any] = strategy.run(on_replica, args=(list(tensors),))
    return total


def inner(tf: Any, variable: Any) -> Any:
    """TensorFlow's own variable in one of Keras."""
    return variable if isinstance(variable, tf.Variable) else variable.value


@contextmanager
def peers(tf: Any, doing: str) -> Iterator[None]:
    """A collective of TensorFlow that fails means that another rank is gone."""
    gone = (
        tf.errors.UnavailableError,
        tf.errors.DeadlineExceededError,
        tf.errors.AbortedError,
        tf.errors.CancelledError,
    )
    try:
        yield
    except tf.errors.OpError as error:
        if not isinstance(error, gone) and not tells_of_lost(str(error)):
            raise
        raise PeerLost(
            f"another rank went away or stopped answering, while {doing}: {first_line(error)}"
        ) from error


def tells_of_lost(text: str) -> bool:
    """Whether an error of another class comes from a collective that a rank was lost in, and not
    from ranks that give it tensors of different shapes: that is the script's own error.
    """
    return "ollective" in text and "mismatch" not in text.lower()


def first_line(error: Exception) -> str:
    """The line of a TensorFlow error that tells most: graph errors begin with a list of nodes."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    telling = [line for line in lines if not line.startswith(("Graph execution", "Detected at"))]
    told = [line for line in telling if line.startswith(("Collective", "recvmsg", "failed"))]
    return (told or telling or [type(error).__name__])[0]


def _options(tf: Any) -> Any:
    return tf.distribute.experimental.CommunicationOptions(
        timeout_seconds=_LAST_RESORT_SECONDS,
        implementation=tf.distribute.experimental.CommunicationImplementation.RING,
    )


@contextmanager
def _alarm(seconds: float) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, max(1.0, seconds))
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
