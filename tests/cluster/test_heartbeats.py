"""Heartbeats with tokens that a real API server makes and reviews."""

from __future__ import annotations

import asyncio
import base64
import copy
import json
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from insitu.heartbeat import Heart
from insitu.progress import Heartbeat, Progress
from insitu_operator.kubernetes import connect
from insitu_operator.shell.heartbeats.endpoint import PATH, HeartbeatEndpoint
from insitu_operator.shell.heartbeats.heartbeats import Heartbeats, Trainer
from insitu_operator.shell.heartbeats.tokens import Tokens
from insitu_operator.shell.probes import serve
from insitu_operator.shell.settings import Address
from testbed.cluster import Cluster
from tests.cluster.manifests import Space

pytestmark = pytest.mark.cluster

AUDIENCE = "insitu.dev/operator"
OTHER_AUDIENCE = "https://kubernetes.default.svc.cluster.local"
TOKEN = "/var/run/secrets/insitu.dev/token"


def test_a_pods_own_token_lets_it_tell_how_its_rank_is(endpoint: Endpoint) -> None:
    endpoint.run("digits-g1-0")
    token = endpoint.space.kubectl("exec", "digits-g1-0", "--", "cat", TOKEN)
    beat = a_beat(progress=Progress(step=3, state="training"))
    assert endpoint.post(token, beat) == (200, {"generation": 1, "every_seconds": 1.0})
    assert endpoint.heartbeats.newest("uid-digits", 1, 0) == beat
    assert endpoint.looks == [("digits", True)]


def test_what_a_supervisor_posts_is_accepted(endpoint: Endpoint, tmp_path: Any) -> None:
    file = tmp_path / "token"
    file.write_text(endpoint.token(endpoint.pod("digits-g1-0")))
    said: list[str] = []
    heart = Heart(endpoint.url, a_beat, say=said.append, token=file, every_seconds=0.01)
    heart.stop(a_beat(exit_code=76, progress=Progress(log_generation=7)))
    assert not said
    assert endpoint.heartbeats.log_generation("uid-digits") == 7


def test_a_newer_generation_is_heard_of_in_the_answer(endpoint: Endpoint) -> None:
    token = endpoint.token(endpoint.pod("digits-g1-0"))
    endpoint.heartbeats.follow("uid-digits", 5)
    assert endpoint.post(token, a_beat()) == (200, {"generation": 5, "every_seconds": 1.0})


def test_a_token_is_reviewed_once_however_often_it_comes(endpoint: Endpoint) -> None:
    token = endpoint.token(endpoint.pod("digits-g1-0"))
    for step in range(20):
        assert endpoint.post(token, a_beat(progress=Progress(step=step)))[0] == 200
    assert endpoint.requests == [("create", "tokenreviews", 201)]


def test_without_a_token_nothing_is_reviewed(endpoint: Endpoint) -> None:
    for shown in (None, ""):
        status, words = endpoint.post(shown, a_beat())
        assert (status, "show a token" in words) == (401, True)
    assert not endpoint.requests


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda _: "no token at all", "no token of Kubernetes"),
        (lambda e: e.token(e.pod("digits-g1-0"), OTHER_AUDIENCE), "not valid for insitu.dev"),
        (lambda e: e.expired(e.token(e.pod("digits-g1-0"))), "token has expired"),
        (lambda e: e.token(None), "not a pod's"),
        (lambda e: e.of_deleted(e.pod("digits-g1-0")), "not valid for insitu.dev"),
    ],
    ids=["garbage", "audience", "expired", "account", "deleted"],
)
def test_a_token_that_does_not_count_is_refused_with_a_word_why(
    endpoint: Endpoint, make: Callable[[Endpoint], str], says: str
) -> None:
    status, words = endpoint.post(make(endpoint), a_beat())
    assert status == 401
    assert says in words
    assert endpoint.heartbeats.newest("uid-digits", 1, 0) is None


def test_a_pod_that_is_no_trainer_is_refused(endpoint: Endpoint) -> None:
    token = endpoint.token(endpoint.pod("web", labels={}))
    status, words = endpoint.post(token, a_beat())
    assert status == 403
    assert words == f"pod {endpoint.space.name}/web is no trainer of a job here\n"


def test_a_pod_of_another_namespace_may_not_speak(endpoint: Endpoint) -> None:
    here = endpoint.space
    endpoint.pod("digits-g1-0")
    there = endpoint.space = replace(here, name=f"{here.name}-other")
    here.cluster.kubectl("create", "namespace", there.name)
    here.cluster.wait(there.without_account)
    assert endpoint.post(endpoint.token(endpoint.pod("digits-g1-0")), a_beat())[0] == 403
    here.cluster.kubectl("delete", "namespace", there.name, "--wait=false")


@pytest.mark.parametrize("changes", [{"job": "letters"}, {"generation": 2}, {"rank": 1}])
def test_a_pod_may_not_speak_for_another_rank(endpoint: Endpoint, changes: dict[str, Any]) -> None:
    token = endpoint.token(endpoint.pod("digits-g1-0"))
    status, words = endpoint.post(token, a_beat(**changes))
    assert status == 403
    assert "pod digits-g1-0 is rank 0 of generation 1 of digits, and may not speak" in words


def test_a_job_that_is_gone_is_not_spoken_for(endpoint: Endpoint) -> None:
    token = endpoint.token(endpoint.pod("digits-g1-0"))
    assert endpoint.post(token, a_beat())[0] == 200
    endpoint.gone = True
    endpoint.heartbeats.forget("uid-digits")
    assert endpoint.post(token, a_beat())[0] == 403
    assert endpoint.heartbeats.newest("uid-digits", 1, 0) is None


def test_a_body_that_is_too_large_or_no_heartbeat_is_refused(endpoint: Endpoint) -> None:
    token = endpoint.token(endpoint.pod("digits-g1-0"))
    status, words = endpoint.post(token, a_beat(last_lines=("x" * 300_000,)))
    assert (status, words) == (413, "a heartbeat has at most 262,144 bytes\n")
    status, words = endpoint.post(token, b'{"job": "digits", "generation": "one", "rank": 0}')
    assert status == 400
    assert "generation: Input should be a valid integer" in words


def test_a_replica_that_does_not_lead_takes_nothing(endpoint: Endpoint) -> None:
    endpoint.leads = False
    assert endpoint.post("token", a_beat())[0] == 503
    assert not endpoint.requests


@dataclass
class Endpoint:
    """The endpoint as the operator has it, for the trainers of one namespace."""

    space: Space
    url: str = ""
    leads: bool = True
    gone: bool = False
    trainers: dict[str, Trainer] = field(default_factory=dict)
    looks: list[tuple[str, bool]] = field(default_factory=list)
    requests: list[tuple[str, str, int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.watched = self.space.name
        self.heartbeats = Heartbeats(
            lambda key, urgent: self.looks.append((key.name, urgent)), lambda _key, _seconds: None
        )

    def trainer(self, pod_uid: str) -> Trainer | None:
        return None if self.gone else self.trainers.get(pod_uid)

    def post(self, token: str | None, body: Heartbeat | bytes) -> tuple[int, Any]:
        """The status, and what the answer says."""
        data = body if isinstance(body, bytes) else body.model_dump_json().encode()
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        request = urllib.request.Request(self.url, data, headers)
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as refused:
            with refused:
                return refused.code, refused.read().decode()

    def pod(self, name: str, labels: dict[str, str] | None = None) -> str:
        """The name of a pod that waits at a gate, and that the operator has seen."""
        self._create(name, {"schedulingGates": [{"name": "insitu.dev/placement"}]}, labels)
        return name

    def run(self, name: str) -> None:
        """A pod that runs, with a token in a volume."""
        token = {"audience": AUDIENCE, "path": "token", "expirationSeconds": 3600}
        volume = {"name": "token", "projected": {"sources": [{"serviceAccountToken": token}]}}
        self._create(name, {"volumes": [volume]})
        self.space.kubectl("wait", "--for=condition=Ready", f"pod/{name}", "--timeout=60s")

    def token(self, pod: str | None, audience: str = AUDIENCE) -> str:
        """For `pod`, or for its service account alone."""
        bound = [] if pod is None else ["--bound-object-kind=Pod", f"--bound-object-name={pod}"]
        made = self.space.kubectl("create", "token", "default", f"--audience={audience}", *bound)
        return made.strip()

    def of_deleted(self, pod: str) -> str:
        token = self.token(pod)
        self.space.kubectl("delete", "pod", pod, "--grace-period=0", "--force")
        return token

    def expired(self, token: str) -> str:
        """The same one, as it is after an hour."""
        header, claims, _ = token.split(".")
        said = json.loads(base64.urlsafe_b64decode(claims + "=="))
        for claim in ("exp", "iat", "nbf"):
            said[claim] -= 7200
        claims = base64.urlsafe_b64encode(json.dumps(said).encode()).decode().rstrip("=")
        pki = self.space.cluster.kubeconfig.parent
        key = serialization.load_pem_private_key((pki / "accounts.key").read_bytes(), None)
        assert isinstance(key, rsa.RSAPrivateKey)
        text = f"{header}.{claims}"
        signature = key.sign(text.encode(), padding.PKCS1v15(), hashes.SHA256())
        return f"{text}.{base64.urlsafe_b64encode(signature).decode().rstrip('=')}"

    def _create(
        self, name: str, spec: dict[str, Any], labels: dict[str, str] | None = None
    ) -> None:
        sleeper = self.space.pod_spec("import time; time.sleep(600)") | spec
        for volume in sleeper.get("volumes", ()):
            mount = {"name": volume["name"], "mountPath": TOKEN.rsplit("/", 1)[0]}
            sleeper["containers"][0]["volumeMounts"] = [mount]
        metadata = copy.deepcopy(_TRAINER) | {"name": name}
        if labels is not None:
            metadata["labels"] = labels
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": sleeper}
        self.space.apply(pod)
        kept = json.loads(self.space.kubectl("get", "pod", name, "-o", "json"))
        trainer = Trainer.of(kept)
        if trainer and trainer.key.namespace == self.watched:
            self.trainers[kept["metadata"]["uid"]] = trainer


_TRAINER: dict[str, Any] = {
    "labels": {
        "insitu.dev/managed": "true",
        "insitu.dev/job": "digits",
        "insitu.dev/job-uid": "uid-digits",
        "insitu.dev/generation": "1",
    },
    "annotations": {"batch.kubernetes.io/job-completion-index": "0"},
}


@pytest.fixture
def endpoint(space: Space, cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> Iterator[Endpoint]:
    monkeypatch.setenv("KUBECONFIG", str(cluster.kubeconfig))
    known = Endpoint(space)
    with _served(known):
        yield known


@contextmanager
def _served(known: Endpoint) -> Iterator[None]:
    """In a thread with an event loop of its own."""
    loop = asyncio.new_event_loop()
    ready = threading.Event()
    over = asyncio.Event()

    async def serving() -> None:
        def observe(verb: str, resource: str, status: int, _seconds: float) -> None:
            known.requests.append((verb, resource, status))

        async with connect(observe) as api:
            tokens = Tokens(api, AUDIENCE)
            taking = HeartbeatEndpoint(known.heartbeats, tokens, known.trainer, lambda: known.leads)
            async with serve(taking.routes(), Address(host="127.0.0.1", port=0)) as port:
                known.url = f"http://127.0.0.1:{port}{PATH}"
                ready.set()
                await over.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(serving(),))
    thread.start()
    try:
        assert ready.wait(30)
        yield
    finally:
        loop.call_soon_threadsafe(over.set)
        thread.join()
        loop.close()


def a_beat(**changes: Any) -> Heartbeat:
    return Heartbeat(**{"job": "digits", "generation": 1, "rank": 0} | changes)
