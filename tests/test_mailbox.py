"""The mailbox on its own, without Ray: who is told what, and that nobody waits for ever."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterator
from typing import TypeVar

from study.cluster.mailbox import Mailbox
from study.cluster.messages import Failure, Job, Letter
from study.learning.pretrain import Place

T = TypeVar("T")


def nothing(argument: object, place: Place) -> Iterator[int]:
    yield from ()


def letter(name: str) -> Letter:
    return Job(name, nothing, None).sealed()


def soon(awaited: Awaitable[T]) -> Awaitable[T]:
    return asyncio.wait_for(awaited, timeout=5)


async def in_the_background(awaited: Awaitable[T]) -> asyncio.Future[T]:
    task = asyncio.ensure_future(awaited)
    await asyncio.sleep(0.01)
    assert not task.done(), "it must wait"
    return task


def test_an_item_is_computed_when_it_is_asked_for() -> None:
    async def course() -> None:
        mailbox = Mailbox()
        await mailbox.start(letter("a"))
        taken = await soon(mailbox.take("group", 0, 0))
        assert taken is not None and taken[1].name == "a"
        posted = await in_the_background(mailbox.post(taken[0], 0, 0, b"first"))
        assert await soon(mailbox.receive("a", 0)) == (b"first",)
        waiting = await in_the_background(mailbox.receive("a", 1))
        assert await soon(posted) is True
        await mailbox.end(taken[0], 0, None)
        assert await soon(waiting) is True

    asyncio.run(course())


def test_whoever_waits_hears_that_the_job_was_replaced() -> None:
    async def course() -> None:
        mailbox = Mailbox()
        await mailbox.start(letter("a"))
        waiting = await in_the_background(mailbox.receive("a", 0))
        await mailbox.start(letter("b"))
        assert await soon(waiting) == Failure("the job was stopped", "", "lane")
        assert await soon(mailbox.receive("a", 0)) == Failure("the job was replaced by another", "", "lane")

    asyncio.run(course())


def test_all_workers_of_a_group_take_what_its_first_took() -> None:
    async def course() -> None:
        mailbox = Mailbox()
        await mailbox.start(letter("a"))
        first = await soon(mailbox.take("group", 0, 0))
        await mailbox.start(letter("b"))  # before the second worker came
        assert first is not None and await soon(mailbox.take("group", 1, 0)) == first
        stranger = await in_the_background(mailbox.take("another group", 1, 0))
        await mailbox.close()
        assert await soon(stranger) is None

    asyncio.run(course())


def test_a_lane_that_is_given_up_fails_its_job_and_all_later_ones() -> None:
    async def course() -> None:
        mailbox = Mailbox()
        await mailbox.start(letter("a"))
        waiting = await in_the_background(mailbox.receive("a", 0))
        await mailbox.give_up("lane 0 died 3 times")
        assert await soon(waiting) == Failure("lane 0 died 3 times", "", "lane")
        await mailbox.start(letter("b"))
        assert await soon(mailbox.receive("b", 0)) == Failure("lane 0 died 3 times", "", "lane")

    asyncio.run(course())


def test_a_job_that_loses_its_workers_three_times_fails() -> None:
    async def course() -> None:
        mailbox = Mailbox()
        await mailbox.start(letter("a"))
        for attempt in range(3):
            assert await soon(mailbox.take(f"group {attempt}", 0, 0)) is not None
        fourth = await in_the_background(mailbox.take("group 3", 0, 0))
        assert await soon(mailbox.receive("a", 0)) == Failure("its workers died 3 times", "")
        await mailbox.start(letter("b"))
        taken = await soon(fourth)
        assert taken is not None and taken[1].name == "b"

    asyncio.run(course())


def test_a_lane_that_falls_silent_is_lost_until_it_beats_again() -> None:
    async def course() -> None:
        mailbox = Mailbox(silence=0.2)
        await mailbox.start(letter("a"))
        (taken := await soon(mailbox.take("group", 0, 0)))
        assert taken is not None
        for _ in range(6):
            await asyncio.sleep(0.05)
            await mailbox.beat(0, 0.0)
        assert await mailbox.alive(), "it beats"
        waiting = await in_the_background(mailbox.receive("a", 0))
        assert await soon(waiting) == Failure("the lane was lost", "", "lane")
        assert not await mailbox.alive()
        await mailbox.beat(0, 0.0)
        assert await mailbox.alive()
        await mailbox.start(letter("b"))
        assert (await soon(mailbox.take("group", 0, taken[0])) or taken)[1].name == "b"

    asyncio.run(course())


def test_a_lane_makes_progress_while_one_of_its_workers_does() -> None:
    async def course() -> None:
        mailbox = Mailbox()
        assert await mailbox.beat(0, 500.0) == 500.0
        assert await mailbox.beat(1, 2.0) == 2.0
        assert await mailbox.beat(0, 502.0) == 2.0

    asyncio.run(course())


def test_a_job_that_hangs_twice_fails_with_the_line_where_it_hung() -> None:
    async def course() -> None:
        mailbox = Mailbox()
        await mailbox.start(letter("a"))
        for attempt in range(2):
            assert await soon(mailbox.take(f"group {attempt}", 0, 0)) is not None
            await mailbox.hung(0, 0, "File method.py, line 7\n    time.sleep(1e9)\n")
        failure = await soon(mailbox.receive("a", 0))
        assert isinstance(failure, Failure) and failure.fault == "job"
        assert failure.reason == "it made no progress, 2 times: time.sleep(1e9)"

    asyncio.run(course())


def test_a_mailbox_that_died_and_came_back_says_that_the_job_is_to_be_run_elsewhere() -> None:
    async def course() -> None:
        before, after = Mailbox(), Mailbox()
        await before.start(letter("a"))
        taken = await soon(before.take("group", 0, 0))
        assert taken is not None
        answer = await soon(after.receive("a", 0))
        assert isinstance(answer, Failure) and answer.fault == "lane"
        assert await soon(after.post(taken[0], 0, 0, b"item")) is False, "the worker leaves the job"
        await after.end(taken[0], 0, None)
        await after.start(letter("b"))
        again = await soon(after.take("group", 0, taken[0]))
        assert again is not None and again[1].name == "b"

    asyncio.run(course())
