"""Passes of jobs: one at a time for a key, in two lanes, with rests and retries."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from insitu_operator.shell.key import Key
from insitu_operator.shell.queueing.queue import Queue
from insitu_operator.shell.queueing.schedule import Lane, Pace, Schedule
from insitu_operator.shell.tasks import Tasks
from tests.virtual_time import now, run

JOB = Key("ml", "digits")
PACE = Pace()


class Passes:
    """A `Run` that notes each pass, and a listener that notes how it went."""

    def __init__(self, body: Callable[[Key], Awaitable[float | None]] | None = None) -> None:
        self.begun: list[tuple[float, Key]] = []
        self.errors: list[Exception] = []
        self.retries: list[float] = []
        self._body = body

    async def __call__(self, key: Key) -> float | None:
        self.begun.append((now(), key))
        return await self._body(key) if self._body else None

    def passed(self, key: Key, seconds: float) -> None: ...

    def failed(self, _key: Key, _seconds: float, error: Exception, retry_seconds: float) -> None:
        self.errors.append(error)
        self.retries.append(retry_seconds)

    @property
    def times(self) -> list[float]:
        return [at for at, _ in self.begun]

    def queue(self) -> Queue:
        return Queue(self, self, jitter=lambda: 0.0)


def test_a_worker_that_dies_says_what_of() -> None:
    class Deaf(Passes):
        def passed(self, key: Key, seconds: float) -> None:
            raise RuntimeError(f"heard of {key.name} after {seconds:.0f} s")

    async def main() -> None:
        passes = Deaf()
        async with passes.queue() as queue:
            queue.add(JOB, urgent=True)
            await queue.hold()

    with pytest.raises(RuntimeError, match="heard of digits after 0 s"):
        run(main())


def test_of_tasks_that_nobody_waits_for_the_first_death_is_told() -> None:
    async def dies(seconds: float) -> None:
        await asyncio.sleep(seconds)
        raise RuntimeError(f"after {seconds:.0f} s")

    async def main() -> None:
        async with Tasks() as tasks:
            tasks.start(asyncio.sleep(1), "ends")
            tasks.start(asyncio.sleep(9), "cancelled").cancel()
            tasks.start(dies(3), "later")
            tasks.start(dies(2), "first")
            await tasks.deaths.hold()

    with pytest.raises(RuntimeError, match="after 2 s"):
        run(main())


def test_many_adds_make_one_pass() -> None:
    async def main() -> Passes:
        passes = Passes()
        async with passes.queue() as queue:
            for _ in range(20):
                queue.add(JOB, urgent=True)
            await asyncio.sleep(60)
        return passes

    assert run(main()).times == [0.0]


def test_adds_during_a_pass_make_exactly_one_more_after_the_gap() -> None:
    async def body(_key: Key) -> None:
        await asyncio.sleep(1)

    async def main() -> Passes:
        passes = Passes(body)
        async with passes.queue() as queue:
            queue.add(JOB, urgent=True)
            await asyncio.sleep(0.5)
            for urgent in (True, False, True):
                queue.add(JOB, urgent=urgent)
            await asyncio.sleep(60)
        return passes

    assert run(main()).times == [0.0, 1 + PACE.gap]


def test_a_pass_names_the_time_of_the_next() -> None:
    answers = iter([30.0, None])

    async def body(_key: Key) -> float | None:
        return next(answers)

    async def main() -> Passes:
        passes = Passes(body)
        async with passes.queue() as queue:
            queue.add(JOB, urgent=True)
            await asyncio.sleep(3600)
        return passes

    assert run(main()).times == [0.0, 30.0]


def test_news_come_before_the_named_time_and_make_it_void() -> None:
    answers = iter([30.0, None])

    async def body(_key: Key) -> float | None:
        return next(answers)

    async def main() -> Passes:
        passes = Passes(body)
        async with passes.queue() as queue:
            queue.add(JOB, urgent=True)
            await asyncio.sleep(10)
            queue.add(JOB, urgent=True)
            await asyncio.sleep(3600)
        return passes

    assert run(main()).times == [0.0, 10.0]


def test_a_pass_that_raises_is_tried_again_ever_more_slowly_up_to_a_bound() -> None:
    async def body(_key: Key) -> None:
        raise ValueError("no")

    async def main() -> Passes:
        passes = Passes(body)
        async with passes.queue() as queue:
            queue.add(JOB, urgent=True)
            await asyncio.sleep(300)
        return passes

    passes = run(main())
    assert passes.retries[:8] == [0.5, 1, 2, 4, 8, 16, 30, 30]
    assert all(isinstance(error, ValueError) for error in passes.errors)


def test_news_shorten_a_long_backoff() -> None:
    async def body(_key: Key) -> None:
        raise ValueError("no")

    async def main() -> Passes:
        passes = Passes(body)
        async with passes.queue() as queue:
            queue.add(JOB, urgent=True)
            await asyncio.sleep(40)  # In the middle of a wait of 30 s.
            queue.add(JOB, urgent=True)
            await asyncio.sleep(0.1)
        return passes

    assert run(main()).times[-1] == 40.0


def test_urgent_keys_do_not_wait_behind_a_thousand_slow_ones() -> None:
    async def body(_key: Key) -> None:
        await asyncio.sleep(1)

    async def main() -> Passes:
        passes = Passes(body)
        async with passes.queue() as queue:
            for number in range(1000):
                queue.add(Key("ml", f"old-{number}"), urgent=False)
            await asyncio.sleep(0.5)
            queue.add(JOB, urgent=True)
            await asyncio.sleep(0)
            await asyncio.sleep(600)
        return passes

    passes = run(main())
    assert (0.5, JOB) in passes.begun
    assert len(passes.begun) == 1001


def test_news_lift_a_slow_key_into_the_urgent_lane() -> None:
    async def body(_key: Key) -> None:
        await asyncio.sleep(1)

    async def main() -> Passes:
        passes = Passes(body)
        async with passes.queue() as queue:
            for number in range(100):
                queue.add(Key("ml", f"old-{number}"), urgent=False)
            queue.add(JOB, urgent=False)
            await asyncio.sleep(0.5)
            queue.add(JOB, urgent=True)
            await asyncio.sleep(600)
        return passes

    assert [at for at, key in run(main()).begun if key == JOB] == [0.5]


def test_a_job_in_trouble_does_not_stop_the_others() -> None:
    async def body(key: Key) -> None:
        if key == JOB:
            await asyncio.Event().wait()

    async def main() -> tuple[Passes, float]:
        passes = Passes(body)
        async with passes.queue() as queue:
            queue.add(JOB, urgent=True)
            await asyncio.sleep(100)
            queue.add(Key("ml", "other"), urgent=True)
            await asyncio.sleep(1)
            return passes, queue.longest_pass_seconds

    passes, longest = run(main())
    assert len(passes.begun) == 2
    assert longest == pytest.approx(101)


def test_the_wait_of_a_key_nobody_has_time_for_is_told() -> None:
    async def body(_key: Key) -> None:
        await asyncio.Event().wait()

    async def main() -> tuple[float, dict[str, int]]:
        passes = Passes(body)
        async with Queue(passes, passes, workers=1) as queue:
            queue.add(JOB, urgent=True)
            queue.add(Key("ml", "other"), urgent=True)
            await asyncio.sleep(100)
            return queue.oldest_seconds, dict(queue.depth)

    waited, depth = run(main())
    assert waited == pytest.approx(100)
    assert depth == {"urgent": 1, "slow": 0}


def test_a_queue_that_ends_cancels_its_passes() -> None:
    async def body(_key: Key) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            ended.append(JOB)
            raise

    ended: list[Key] = []

    async def main() -> None:
        async with Passes(body).queue() as queue:
            queue.add(JOB, urgent=True)
            await asyncio.sleep(1)

    run(main())
    assert ended == [JOB]


KEYS = st.sampled_from([Key("ml", name) for name in "abc"])
LANES = st.sampled_from(list(Lane))


class AnySchedule(RuleBasedStateMachine):
    """Whatever happens in whatever order."""

    def __init__(self) -> None:
        super().__init__()
        self.schedule = Schedule(PACE)
        self.now = 0.0
        self.running: dict[Key, Lane] = {}
        self.ended: dict[Key, float] = {}
        #: Keys that were added since their last pass began.
        self.news: set[Key] = set()

    @rule(key=KEYS, lane=LANES)
    def add(self, key: Key, lane: Lane) -> None:
        self.schedule.add(key, lane, self.now)
        self.news.add(key)

    @rule(key=KEYS, seconds=st.floats(0, 10))
    def add_after(self, key: Key, seconds: float) -> None:
        self.schedule.add(key, Lane.URGENT, self.now + seconds)

    @rule(seconds=st.sampled_from([0.0, 0.1, 0.25, 2.0, 60.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule(lane=LANES)
    def take(self, lane: Lane) -> None:
        key = self.schedule.take(lane, self.now)
        if key is None:
            return
        assert key not in self.running, "two passes of one key at once"
        assert self.now >= self.ended.get(key, -1) + PACE.gap
        self.running[key] = lane
        self.news.discard(key)

    @precondition(lambda self: self.running)
    @rule(data=st.data(), again=st.none() | st.floats(0, 10))
    def finish(self, data: st.DataObject, again: float | None) -> None:
        key = data.draw(st.sampled_from(sorted(self.running)))
        self.schedule.finish(key, self.now, again)
        self._ended(key)

    @precondition(lambda self: self.running)
    @rule(data=st.data(), jitter=st.floats(0, 0.99))
    def fail(self, data: st.DataObject, jitter: float) -> None:
        key = data.draw(st.sampled_from(sorted(self.running)))
        wait = self.schedule.fail(key, self.now, jitter)
        assert PACE.gap <= wait <= PACE.longest_backoff
        self._ended(key)
        self.news.add(key)

    @invariant()
    def an_idle_key_with_news_is_due_soon(self) -> None:
        later = self.now + PACE.longest_backoff
        assert sum(self.schedule.depth(later).values()) >= len(self.news - self.running.keys())

    def teardown(self) -> None:
        """In the end every key with news gets its pass, and then all is forgotten."""
        for key in list(self.running):
            self.schedule.finish(key, self.now, None)
        self.now += 100
        taken = [key for lane in Lane for key in self._take_all(lane)]
        assert len(taken) == len(set(taken))
        assert self.news <= set(taken)
        for key in taken:
            self.schedule.finish(key, self.now, None)
        self.now += 1
        assert self._take_all(Lane.URGENT) == []
        assert len(self.schedule) == 0

    def _take_all(self, lane: Lane) -> list[Key]:
        return list(iter(lambda: self.schedule.take(lane, self.now), None))

    def _ended(self, key: Key) -> None:
        del self.running[key]
        self.ended[key] = self.now


TestAnySchedule = AnySchedule.TestCase
TestAnySchedule.settings = settings(max_examples=80, stateful_step_count=40, deadline=None)
