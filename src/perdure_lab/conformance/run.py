"""Plays cases, each against a process of its own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from random import Random
from typing import TYPE_CHECKING

from perdure.config import TransportConfig
from perdure.transport.rtc import RtcTransport
from perdure_lab.conformance.case import Case, Result, Verdict
from perdure_lab.conformance.conversation import Conversation
from perdure_lab.conformance.failures import CaseFailed, NotApplicable
from perdure_lab.conformance.process import SubjectProcess

if TYPE_CHECKING:
    from perdure.transport.base import Transport

CASE_TIMEOUTS = 8
"""So many times the timeout of an answer is what a whole case may take, and `SLOWEST_SECONDS`."""

SLOWEST_SECONDS = 35.0
"""The longest wait that the timeout does not shorten (in `silence`): the protocol lets the subject be so slow."""


async def play(command: Sequence[str], cases: Sequence[Case], timeout: float, jobs: int) -> AsyncIterator[Result]:
    """Each case's result, in their order. Where the subject said nothing at all in the first one, no other is played.

    Args:
        timeout: seconds for each answer of the subject.
        jobs: cases that are played at once; the first one is played alone.

    Raises:
        CommandNotStartedError: the system cannot start `command`.
    """
    transport = RtcTransport(TransportConfig(loopback=True))
    first = await _play_one(command, cases[0], transport, timeout)
    yield first
    if first.is_mute:
        return
    room = asyncio.Semaphore(jobs)

    async def played(case: Case) -> Result:
        async with room:
            return await _play_one(command, case, transport, timeout)

    tasks = [asyncio.create_task(played(case)) for case in cases[1:]]
    try:
        for task in tasks:
            yield await task
    finally:
        for task in tasks:
            if not task.cancelling():  # to cancel one again would hurry the end of its process
                task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _play_one(command: Sequence[str], case: Case, transport: Transport, timeout: float) -> Result:
    process: SubjectProcess | None = None

    def write(line: str) -> None:
        if process is not None:
            process.write(line)

    conversation = Conversation(write, transport, timeout, Random(case.name))
    waiting, limit = conversation.waiting, CASE_TIMEOUTS * timeout + SLOWEST_SECONDS
    process = await SubjectProcess.start(command, conversation.take_text, waiting.over)
    try:
        async with asyncio.timeout(limit):
            await case.play(conversation)
        waiting.check()
    except NotApplicable as why:
        return Result(case, Verdict.NOT_APPLICABLE, came=str(why))
    except CaseFailed as failure:
        is_mute = not conversation.signals.bodies
        return Result(case, Verdict.FAILED, failure.expected, failure.came, process.written, is_mute)
    except TimeoutError:
        expected = f"an end of the case within {limit:g} s"
        return Result(case, Verdict.FAILED, expected, waiting.last_events, process.written)
    finally:
        conversation.close()
        await process.close()
    return Result(case, Verdict.PASSED)
