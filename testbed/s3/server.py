"""One versitygw, started and stopped by code.

https://github.com/versity/versitygw/wiki
"""

from __future__ import annotations

import shutil
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Self

from testbed import addresses
from testbed.cluster.binaries import VERSITYGW, built
from testbed.node import BootFailed, Node
from testbed.paths import cache
from testbed.processes import spawn

PORT = 7070
_BOOT_SECONDS = 30.0


def start(host: str | None = None) -> Server:
    """Starts a store without any bucket; use it as a context manager.

    Args:
        host: An address of this machine where nobody else serves on port 7070; pods of a cluster of
            the testbed reach `cluster.host`. A loopback address of its own when left out.

    Raises:
        BootFailed: it ended or was not ready in time; the message holds the end of its log.
        RuntimeError: it could not be built; the message holds what the compiler said.
    """
    built(VERSITYGW)
    server = Server(host)
    try:
        server.start()
    except BaseException:
        server.stop()
        raise
    return server


def is_built() -> bool:
    """Whether `start` needs no compiler."""
    return VERSITYGW.folder.is_dir()


class Server:
    """A store that can be killed and started again with all that is in it.

    `access_key` and `secret_key` belong to its only user, who may do everything. `buckets` is the
    folder with a folder for each, where objects are files.
    """

    region = "us-east-1"
    access_key = "insitu"
    secret_key = "insitu-testbed"  # noqa: S105 - guards nothing but tests

    def __init__(self, host: str | None) -> None:
        self._claim: addresses.Network | None = None
        if host is None:
            self._claim = addresses.claim(PORT)
            host = self._claim.host(1)
        self.folder = cache() / "s3" / host
        shutil.rmtree(self.folder, ignore_errors=True)  # of one that crashed
        self.buckets = self.folder / "buckets"
        self.buckets.mkdir(parents=True)
        # The kernel ends a tied process together with the thread that started it.
        self._starter = ThreadPoolExecutor(1, "s3-starter")
        self._node = Node("versitygw", host, PORT, self.folder, self._spawn)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    @property
    def endpoint(self) -> str:
        return f"http://{self._node.host}:{self._node.port}"

    @property
    def environment(self) -> Mapping[str, str]:
        """What S3 tools read: endpoint, region and keys."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_REGION": self.region,
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
        }

    def create_bucket(self, name: str) -> None:
        """Makes an empty bucket; this store's are folders."""
        (self.buckets / name).mkdir()

    def start(self) -> None:
        """Starts the server, unless it runs, and returns when it answers.

        Raises:
            BootFailed: it ended or was not ready in time.
        """
        self._node.start()
        deadline = time.monotonic() + _BOOT_SECONDS
        while not self._answers():
            self._node.check()
            if time.monotonic() > deadline:
                raise BootFailed(f"{self.endpoint} does not answer after {_BOOT_SECONDS:.0f} s")
            time.sleep(0.02)

    def kill(self) -> None:
        """SIGKILL: it is gone when this returns. `start` brings it back."""
        self._node.kill()

    def stop(self) -> None:
        """Stops the server and removes all that is in it. Safe to call twice."""
        self._node.stop()
        self._starter.shutdown()
        shutil.rmtree(self.folder, ignore_errors=True)
        if self._claim is not None:
            self._claim.release()

    def _spawn(self) -> subprocess.Popen[bytes]:
        binary = VERSITYGW.folder / "versitygw"
        address = f"{self._node.host}:{self._node.port}"
        return self._starter.submit(
            spawn,
            [str(binary), f"--port={address}", "--keep-alive", "posix", str(self.buckets)],
            folder=self.folder,
            log=self._node.log,
            inherit=[] if self._claim is None else [self._claim.claim.fileno()],
            tied=True,
            environment={
                "ROOT_ACCESS_KEY": self.access_key,
                "ROOT_SECRET_KEY": self.secret_key,
                "VGW_REGION": self.region,
            },
        ).result()

    def _answers(self) -> bool:
        try:
            urllib.request.urlopen(self.endpoint, timeout=5).close()  # noqa: S310 - our own
        except urllib.error.HTTPError as answer:
            answer.close()  # It asks for credentials.
        except OSError:
            return False
        return True
