"""The mailbox on its own, without Ray: who is told what, and that nobody waits for ever."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterator
from typing import TypeVar

from study.cluster.mailbox import Failure, Job, Letter, Mailbox
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
        assert await soon(waiting) == Failure("the job was stopped", "")
        assert await soon(mailbox.receive("a", 0)) == Failure("the job was replaced by another", "")

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
        assert await soon(waiting) == Failure("lane 0 died 3 times", "")
        await mailbox.start(letter("b"))
        assert await soon(mailbox.receive("b", 0)) == Failure("lane 0 died 3 times", "")

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
