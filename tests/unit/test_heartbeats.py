"""What becomes of heartbeats: which are kept, who is told, how often trainers may, which tokens."""

import asyncio
import base64
import json
from typing import Any, cast

import pytest

from insitu.errors import AuthenticationError
from insitu.progress import Heartbeat, Progress, received
from insitu_operator.core.heartbeats import News, Ranks
from insitu_operator.kubernetes import Api, ApiProblem, paths
from insitu_operator.shell.heartbeats.heartbeats import Heartbeats, Trainer
from insitu_operator.shell.heartbeats.tokens import Bearer, Busy, Tokens
from insitu_operator.shell.key import Key
from insitu_operator.shell.reconciling.memory import Memory
from insitu_operator.shell.reconciling.recall import pods_of
from tests.unit.job_builders import Scene, job
from tests.unit.pod_builders import pod

AUDIENCE = "insitu.dev/operator"
POD = Bearer("ml", "digits-g1-0", "uid-0")


class TestRanks:
    def test_a_rank_that_is_heard_changes_or_ends_is_news_at_once(self) -> None:
        ranks = Ranks()
        told = [
            a_beat(),
            a_beat(),
            a_beat(progress=Progress(step=0)),
            a_beat(progress=Progress(step=1)),
            a_beat(progress=Progress(step=1, state="training")),
            a_beat(exit_code=0),
        ]
        turn, nothing, progress = News.TURN, News.NOTHING, News.PROGRESS
        assert [ranks.take(b) for b in told] == [turn, nothing, turn, progress, turn, turn]

    def test_an_end_is_final(self) -> None:
        ranks = Ranks()
        ranks.take(a_beat(exit_code=76))
        assert ranks.take(a_beat()) is News.NOTHING
        assert ranks.newest(1, 0) == a_beat(exit_code=76)
        assert ranks.living == 0

    def test_a_newer_generation_in_the_log_is_news_and_is_remembered(self) -> None:
        ranks = Ranks()
        for seen, news in ((1, News.TURN), (9, News.TURN), (9, News.PROGRESS)):
            step = ranks.log_generation
            assert ranks.take(a_beat(progress=Progress(step=step, log_generation=seen))) is news
        ranks.generation = 12
        assert ranks.log_generation == 9

    def test_a_generation_that_no_log_can_have_met_is_not_remembered(self) -> None:
        ranks = Ranks()
        ranks.take(a_beat(progress=Progress(log_generation=10**30)))
        assert ranks.log_generation == 0

    def test_the_generation_before_is_kept_while_it_ends(self) -> None:
        ranks = Ranks()
        for generation in (1, 2):
            ranks.take(a_beat(generation=generation))
        ranks.generation = 3
        assert (ranks.newest(1, 0), ranks.newest(2, 0)) == (None, a_beat(generation=2))
        assert ranks.take(a_beat(generation=1)) is News.NOTHING
        assert ranks.living == 1

    def test_the_answer_names_the_newest_generation_that_is_known(self) -> None:
        ranks = Ranks()
        assert ranks.reply(a_beat(generation=2), 1.0).generation == 2
        ranks.generation = 3
        assert ranks.reply(a_beat(generation=2), 7.5).model_dump() == {
            "generation": 3,
            "every_seconds": 7.5,
        }


class TestHeartbeats:
    def test_trainers_are_slowed_down_to_a_hundred_posts_a_second(self) -> None:
        heartbeats = Heartbeats(lambda _key, _urgent: None, lambda _key, _seconds: None)
        for rank in range(1000):
            reply = heartbeats.take(a_trainer(rank), a_beat(rank=rank))
            assert 1.0 <= reply.every_seconds == max(1.0, (rank + 1) / 100)
        for rank in range(500):
            heartbeats.take(a_trainer(rank), a_beat(rank=rank, exit_code=0))
        assert heartbeats.every_seconds == 5.0
        heartbeats.forget("digits")
        assert heartbeats.every_seconds == 1.0
        assert heartbeats.newest("digits", 1, 0) is None

    def test_progress_is_told_every_five_seconds_and_a_turn_at_once(self) -> None:
        now, turns, looks = [0.0], list[float](), list[float]()
        heartbeats = Heartbeats(
            lambda _key, urgent: (turns if urgent else looks).append(now[0]),
            lambda _key, seconds: looks.append(now[0] + seconds),
            lambda: now[0],
        )
        for step in range(12):
            now[0] = float(step)
            heartbeats.take(a_trainer(), a_beat(progress=Progress(step=step)))
        assert (turns, looks) == ([0], [5, 10, 15])
        heartbeats.take(a_trainer(), a_beat(exit_code=1))
        assert turns == [0, 11]

    def test_the_last_progress_before_a_long_step_is_told_as_well(self) -> None:
        now, later = [0.0], list[float]()
        heartbeats = Heartbeats(
            lambda _key, _urgent: None, lambda _key, seconds: later.append(seconds), lambda: now[0]
        )
        for now[0], step in ((0.0, 1), (600.0, 2), (601.0, 3)):
            heartbeats.take(a_trainer(), a_beat(progress=Progress(step=step)))
        assert later == [4.0]

    def test_with_many_jobs_each_is_told_less_often(self) -> None:
        now, looks = [0.0], list[Key]()
        heartbeats = Heartbeats(
            lambda key, _urgent: looks.append(key),
            lambda key, _seconds: looks.append(key),
            lambda: now[0],
        )
        for step in range(40):
            now[0] = float(step)
            for name in range(400):
                beat = a_beat(job=str(name), progress=Progress(step=step))
                heartbeats.take(a_trainer(job=str(name)), beat)
        assert len(looks) == 3 * 400

    def test_a_job_of_which_only_the_generation_is_known_answers_with_it(self) -> None:
        heartbeats = Heartbeats(lambda _key, _urgent: None, lambda _key, _seconds: None)
        heartbeats.follow("digits", 4)
        assert heartbeats.take(a_trainer(), a_beat(generation=3)).generation == 4
        assert heartbeats.log_generation("digits") == heartbeats.log_generation("other") == 0


class TestReceived:
    @pytest.mark.parametrize(
        ("said", "why"),
        [
            ({"step": -1}, "progress.step: -1 is not between 0 and"),
            ({"rows": 2**63}, "progress.rows: 9223372036854775808 is not between"),
            ({"percent": "NaN"}, "progress.percent: nan is not between"),
            ({"eta_seconds": "Infinity"}, "progress.eta_seconds: inf is not between"),
            ({"updated": 1e300}, "progress.updated: 1e\\+300 is not between"),
            ({"log_generation": 2**50}, "more than 1000000 generations ahead of 1"),
            ({"state": "winning"}, "progress.state"),
        ],
    )
    def test_a_number_that_can_not_be_true_is_refused(self, said: Any, why: str) -> None:
        body = {"job": "digits", "generation": 1, "rank": 0, "progress": said}
        with pytest.raises(ValueError, match=why):
            received(json.dumps(body), 10.0)

    def test_a_report_from_the_future_is_one_of_now(self) -> None:
        late = a_beat(progress=Progress(updated=9e9)).model_dump_json()
        found = received(late, 1e9).progress
        assert found
        assert found.updated == 1e9

    def test_a_loss_may_be_no_number(self) -> None:
        said = a_beat(progress=Progress(metrics={"loss": float("inf")}))
        assert received(said.model_dump_json(), 1.0) == said


class TestWhoseWordCounts:
    """Labels and owner references are anybody's to write; the uid of the Job is the cluster's."""

    @pytest.mark.parametrize(
        ("uid", "generation", "ours"),
        [("j", 1, True), ("forged", 1, False), ("j", 900, False), ("j", 10**30, False)],
    )
    def test_only_a_pod_of_the_jobs_own_job_is_a_rank(
        self, uid: str, generation: int, ours: bool
    ) -> None:
        owned = pod(0, generation=generation)
        owned["metadata"]["ownerReferences"][0]["uid"] = uid
        found, memory = Cluster([owned]), Memory("u")
        memory.remember(Scene().read().tick().record, None)
        pods = asyncio.run(pods_of(cast("Api", found), job(uid="u"), memory))
        assert bool(pods) is ours
        assert memory.batch_jobs == {1: {"j"}} if generation == 1 else not memory.batch_jobs

    def test_a_rank_whose_job_is_gone_is_waited_for(self) -> None:
        memory = Memory("u")
        memory.remember(Scene().read().tick().record, None)
        found = Cluster([pod(0)], jobs=False)
        assert len(asyncio.run(pods_of(cast("Api", found), job(uid="u"), memory))) == 1
        assert not memory.batch_jobs


class Cluster:
    """An API server with pods, and with the Job that runs generation 1 of the job."""

    def __init__(self, pods: list[Any], *, jobs: bool = True) -> None:
        self._pods, self._jobs = pods, jobs

    async def list(self, _path: str, **_selectors: Any) -> list[Any]:
        return self._pods

    async def get(self, path: str) -> Any:
        if not self._jobs or not path.endswith("digits-g1"):
            raise ApiProblem("get", paths.target(path), 404, "NotFound", "")
        owner = {"kind": "TrainingJob", "name": "digits", "uid": "u", "controller": True}
        return {"metadata": {"uid": "j", "ownerReferences": [owner]}}


def test_a_pod_says_which_rank_it_is() -> None:
    labels = {
        "insitu.dev/job": "digits",
        "insitu.dev/job-uid": "u",
        "insitu.dev/generation": "3",
    }
    index = {"batch.kubernetes.io/job-completion-index": "2"}
    metadata = {"namespace": "ml", "labels": labels, "annotations": index}
    assert Trainer.of({"metadata": metadata}) == Trainer(Key("ml", "digits"), "u", 3, 2)
    assert Trainer.of({"metadata": metadata | {"labels": {}}}) is None
    assert Trainer.of({"metadata": {"namespace": "ml"}}) is None


class TestTokens:
    def test_a_token_is_reviewed_once_until_it_expires(self) -> None:
        now, server = [100.0], Server()
        tokens = Tokens(server, AUDIENCE, lambda: now[0])
        for at in (100.0, 3000.0, 3599.0):
            now[0] = at
            assert ask(tokens, a_token(3600)) == POD
        assert server.asked == 1
        now[0] = 3600.0
        with pytest.raises(AuthenticationError, match="has expired"):
            ask(tokens, a_token(3600))
        assert ask(tokens, a_token(7200)) == POD
        assert server.asked == 2

    @pytest.mark.parametrize(
        ("token", "says"),
        [
            *((text, "no token of Kubernetes") for text in ("opaque", "a.b.c", "a.W10.c", "....")),
            ("a.e30.c", "for another audience"),
        ],
    )
    def test_what_can_not_count_is_refused_without_asking(self, token: str, says: str) -> None:
        server = Server()
        with pytest.raises(AuthenticationError, match=says):
            ask(Tokens(server, AUDIENCE), token)
        assert server.asked == 0

    @pytest.mark.parametrize(
        ("claims", "says"),
        [
            ({"aud": ["https://kubernetes.default.svc"]}, "for another audience"),
            ({"exp": 99}, "has expired"),
            ({"kubernetes.io": {"namespace": "ml"}}, "not a pod's"),
        ],
    )
    def test_a_token_is_taken_at_its_word_where_that_is_against_it(
        self, claims: dict[str, Any], says: str
    ) -> None:
        server = Server()
        with pytest.raises(AuthenticationError, match=says):
            ask(Tokens(server, AUDIENCE, lambda: 100.0), a_token(3600, **claims))
        assert server.asked == 0

    def test_a_token_without_an_end_is_trusted_for_a_minute(self) -> None:
        now, server = [0.0], Server()
        tokens = Tokens(server, AUDIENCE, lambda: now[0])
        for at, asked in ((0.0, 1), (59.0, 1), (60.0, 2)):
            now[0] = at
            assert ask(tokens, a_token(None)) == POD
            assert server.asked == asked

    def test_a_refusal_is_remembered_for_a_moment(self) -> None:
        now, server = [0.0], Server(authenticated=False, error="expired")
        tokens = Tokens(server, AUDIENCE, lambda: now[0])
        for at, asked in ((0.0, 1), (9.0, 1), (10.0, 2)):
            now[0] = at
            with pytest.raises(AuthenticationError, match=f"not valid for {AUDIENCE}: expired"):
                ask(tokens, a_token(3600))
            assert server.asked == asked

    def test_the_oldest_token_is_forgotten_where_there_are_too_many(self) -> None:
        server = Server()
        tokens = Tokens(server, AUDIENCE, lambda: 0.0, most=2)
        for token, asked in (("a", 1), ("b", 2), ("a", 2), ("c", 3), ("a", 3), ("b", 4)):
            ask(tokens, a_token(3600, jti=token))
            assert server.asked == asked

    @pytest.mark.parametrize(
        ("changes", "says"),
        [
            ({"audiences": []}, "for anybody"),
            ({"audiences": ["https://kubernetes.default.svc"]}, "for anybody"),
            ({"user": {"username": "admin", "extra": {}}}, "not a pod's"),
            ({"user": {"username": "system:serviceaccount:ml:default"}}, "not a pod's"),
        ],
    )
    def test_what_is_no_token_of_a_pod_for_us_is_refused(
        self, changes: dict[str, Any], says: str
    ) -> None:
        with pytest.raises(AuthenticationError, match=says):
            ask(Tokens(Server(**changes), AUDIENCE, lambda: 0.0), a_token(3600))

    def test_an_api_server_that_is_away_is_asked_again(self) -> None:
        server = Server()
        tokens = Tokens(server, AUDIENCE, lambda: 0.0)
        server.problem = ApiProblem(
            "create", paths.target(paths.token_reviews()), 503, "ServiceUnavailable", "away"
        )
        with pytest.raises(ApiProblem):
            ask(tokens, a_token(3600))
        server.problem = None
        assert ask(tokens, a_token(3600)) == POD

    def test_a_flood_of_tokens_does_not_become_one_of_reviews(self) -> None:
        server = Server()
        tokens = Tokens(server, AUDIENCE, lambda: 0.0, at_once=2, waiting=3)

        async def flood() -> list[Bearer | BaseException]:
            asked = (tokens.bearer(a_token(3600, pod=f"pod-{n}")) for n in range(100))
            return await asyncio.gather(*asked, return_exceptions=True)

        answers = asyncio.run(flood())
        assert (answers.count(POD), sum(isinstance(a, Busy) for a in answers)) == (5, 95)
        assert server.most == 2

    def test_in_a_flood_known_pods_are_heard(self) -> None:
        tokens = Tokens(Server(), AUDIENCE, lambda: 0.0, at_once=2, waiting=3)

        async def flood() -> tuple[Bearer, list[Bearer | BaseException]]:
            await tokens.bearer(a_token(3600, pod=POD.pod_uid))
            strangers = [tokens.bearer(a_token(3600, pod=f"pod-{n}")) for n in range(100)]
            flooding = asyncio.gather(*strangers, return_exceptions=True)
            renewed = await tokens.bearer(a_token(7200, pod=POD.pod_uid))
            return renewed, await flooding

        renewed, others = asyncio.run(flood())
        assert renewed == POD
        assert any(isinstance(other, Busy) for other in others)

    def test_a_flood_in_the_name_of_one_pod_leaves_room_for_others(self) -> None:
        tokens = Tokens(Server(), AUDIENCE, lambda: 0.0, at_once=2, waiting=3)

        async def flood() -> list[Bearer | BaseException]:
            forged = [tokens.bearer(a_token(3600, pod="one", jti=str(n))) for n in range(100)]
            honest = [tokens.bearer(a_token(3600, pod="another"))]
            return await asyncio.gather(*forged, *honest, return_exceptions=True)

        answers = asyncio.run(flood())
        assert answers[-1] == POD
        assert sum(isinstance(answer, Busy) for answer in answers) == 98


class Server:
    """Answers every review alike, and counts them."""

    def __init__(self, **changes: object) -> None:
        extra = {
            "authentication.kubernetes.io/pod-name": [POD.pod],
            "authentication.kubernetes.io/pod-uid": [POD.pod_uid],
        }
        user = {"username": "system:serviceaccount:ml:default", "extra": extra}
        self.status = {"authenticated": True, "audiences": [AUDIENCE], "user": user} | changes
        self.problem: ApiProblem | None = None
        self.asked = self.most = self._now = 0

    async def create(self, _path: str, _body: dict[str, Any]) -> dict[str, Any]:
        self.asked += 1
        self._now += 1
        self.most = max(self.most, self._now)
        await asyncio.sleep(0)
        self._now -= 1
        if self.problem:
            raise self.problem
        return {"status": self.status}


def ask(tokens: Tokens, token: str) -> Bearer:
    return asyncio.run(tokens.bearer(token))


def a_token(ends: int | None, *, pod: str = "uid-0", **changes: Any) -> str:
    """As Kubernetes makes them for pods, but for the signature."""
    bound = {"namespace": "ml", "pod": {"name": "digits-g1-0", "uid": pod}}
    said = {"aud": [AUDIENCE], "kubernetes.io": bound} | ({"exp": ends} if ends else {}) | changes
    claims = base64.urlsafe_b64encode(json.dumps(said).encode()).decode().rstrip("=")
    return f"header.{claims}.signature"


def a_beat(**changes: Any) -> Heartbeat:
    return Heartbeat(**{"job": "digits", "generation": 1, "rank": 0} | changes)


def a_trainer(rank: int = 0, job: str = "digits") -> Trainer:
    return Trainer(Key("ml", job), job, 1, rank)
