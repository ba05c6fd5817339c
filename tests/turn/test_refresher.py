"""A provider is asked, and what it issues is handed on."""

from __future__ import annotations

import asyncio
import contextlib
import time
from random import Random
from typing import TYPE_CHECKING

import pytest

from perdure import IceServer, PerdureError
from perdure.turn import IssuedIceServers
from perdure.turn.refresher import FetchFailure, Refresher
from support.signaling import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable


class Scripted:
    """A provider that says one thing after another; the last one again and again."""

    def __init__(self, *answers: IssuedIceServers | BaseException) -> None:
        self._answers = list(answers)
        self.asked = 0

    async def ice_servers(self) -> IssuedIceServers:
        self.asked += 1
        answer = self._answers[0] if len(self._answers) == 1 else self._answers.pop(0)
        if isinstance(answer, BaseException):
            raise answer
        return answer


class Silent:
    """A provider that answers `first`, where it is given, and then never again."""

    def __init__(self, first: IssuedIceServers | None = None) -> None:
        self._first = first
        self.is_asked = False
        """Whether somebody waits for its answer."""

    async def ice_servers(self) -> IssuedIceServers:
        if self._first is not None:
            first, self._first = self._first, None
            return first
        self.is_asked = True
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            self.is_asked = False
        raise AssertionError("unreachable")


class Heard:
    def __init__(self, refuses: int = 0, error: Exception | None = None) -> None:
        self.issued: list[tuple[str | None, float | None]] = []
        self.failures: list[FetchFailure] = []
        self._refuses = refuses
        self._error = error or PerdureError("the engine refuses them")

    def take(self, servers: tuple[IceServer, ...], expires_in: float | None) -> None:
        if self._refuses:
            self._refuses -= 1
            raise self._error
        self.issued.append((servers[0].username, expires_in))

    @contextlib.asynccontextmanager
    async def by(
        self, provider: Scripted | Silent, interval: float = 600.0, clock: Callable[[], float] = time.monotonic
    ) -> AsyncIterator[Refresher]:
        refresher = Refresher(
            provider,
            interval=interval,
            on_issued=self.take,
            on_failed=self.failures.append,
            random=Random(1),
            clock=clock,
        )
        try:
            await refresher.start()
            yield refresher
        finally:
            await refresher.close()


def issued(user: str, lifetime: float | None = None) -> IssuedIceServers:
    return IssuedIceServers((IceServer("turn:turn.example", user, "the password"),), lifetime)


async def test_the_first_are_there_when_it_has_started_and_later_ones_follow() -> None:
    heard = Heard()
    async with heard.by(Scripted(issued("ada", 2.0), issued("bob", 600.0))):
        assert heard.issued == [("ada", 2.0)]
        await eventually(lambda: len(heard.issued) == 2)
        assert heard.issued[1] == ("bob", 600.0)
    assert heard.failures == []


async def test_the_same_servers_again_are_no_news() -> None:
    heard, provider = Heard(), Scripted(issued("ada"))
    async with heard.by(provider, interval=1.0):
        await eventually(lambda: provider.asked == 3)
    assert heard.issued == [("ada", None)]


async def test_a_failure_is_told_with_its_reason_and_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    heard, wrong = Heard(), PerdureError("https://ada:the-password@x.example answers 503")
    async with heard.by(Scripted(wrong, issued("ada"))):
        assert heard.issued == []
        await eventually(lambda: heard.issued == [("ada", None)])
    [failure] = heard.failures
    assert "answers 503" in failure.reason
    assert 0.9 < failure.retry_in <= 1.1
    assert failure.expires_in is None
    assert [line.split()[0] for line in caplog.messages] == ["turn-credentials-failed"]
    assert "the-password" not in caplog.text + repr(failure)


async def test_of_an_exception_of_an_applications_own_only_the_type_is_told(caplog: pytest.LogCaptureFixture) -> None:
    heard = Heard()
    async with heard.by(Scripted(KeyError("the password"), issued("ada"))):
        await eventually(lambda: bool(heard.issued))
    assert heard.failures[0].reason == "the provider raised KeyError"
    assert "the password" not in caplog.text


@pytest.mark.parametrize("error", [PerdureError, ValueError])
async def test_servers_that_cannot_be_used_are_a_failure_and_are_handed_on_again(error: type[Exception]) -> None:
    heard = Heard(refuses=1, error=error("the engine refuses them"))
    async with heard.by(Scripted(issued("ada"))):
        await eventually(lambda: heard.issued == [("ada", None)])
    assert heard.failures[0].reason == "the engine refuses them"


async def test_a_failure_says_for_how_long_those_in_use_still_last() -> None:
    heard = Heard()
    async with heard.by(Scripted(issued("ada", 3.0), PerdureError("down"))):
        await eventually(lambda: len(heard.failures) == 1)
    assert heard.failures[0].expires_in is not None
    assert heard.failures[0].expires_in < 1.3


async def test_a_provider_that_does_not_answer_holds_nothing_up() -> None:
    heard, provider = Heard(), Silent()
    async with heard.by(provider):
        assert provider.is_asked, "it has started while the provider is still asked"
    assert heard.issued == []
    assert not provider.is_asked


async def test_credentials_that_a_server_refuses_are_asked_for_anew() -> None:
    heard = Heard()
    async with heard.by(Scripted(issued("ada"), issued("bob"))) as refresher:
        refresher.refused()
        await eventually(lambda: [user for user, _ in heard.issued] == ["ada", "bob"])


async def test_after_a_sleep_what_is_due_is_asked_for_at_once() -> None:
    heard, instants = Heard(), [0.0]
    async with heard.by(
        Scripted(issued("ada", 3600.0), issued("bob", 3600.0)), clock=lambda: instants[-1]
    ) as refresher:
        instants.append(1000.0)  # the event loop's timers have not noticed
        refresher.look()
        await eventually(lambda: [user for user, _ in heard.issued] == ["ada", "bob"])


async def test_a_provider_that_failed_is_asked_again_when_the_network_changes() -> None:
    heard, instants = Heard(), [0.0]
    provider = Scripted(PerdureError("no route"), PerdureError("no route"), issued("ada"))
    async with heard.by(provider, clock=lambda: instants[-1]) as refresher:
        instants.append(1.2)
        refresher.look()
        await eventually(lambda: len(heard.failures) == 2)
        assert heard.failures[1].retry_in >= 2.0
        instants.append(2.3)
        refresher.look()
        await eventually(lambda: heard.issued == [("ada", None)])


async def test_who_seeks_a_path_waits_for_new_credentials_where_those_in_use_are_spent() -> None:
    heard, instants = Heard(), [0.0]
    provider = Scripted(issued("ada", 3600.0), issued("bob", 3600.0))
    async with heard.by(provider, clock=lambda: instants[-1]) as refresher:
        assert refresher.awaited() is None
        instants.append(3601.0)
        awaited = refresher.awaited()
        assert awaited is not None
        await awaited
        assert [user for user, _ in heard.issued] == ["ada", "bob"]
        assert refresher.awaited() is None


async def test_who_seeks_a_path_waits_no_longer_than_for_a_provider_that_fails() -> None:
    heard, instants = Heard(), [0.0]
    provider = Scripted(issued("ada", 3600.0), PerdureError("down"))
    async with heard.by(provider, clock=lambda: instants[-1]) as refresher:
        instants.append(3601.0)
        both = [refresher.awaited(), refresher.awaited()]
        for awaited in both:
            assert awaited is not None
            await awaited
        assert (provider.asked, len(heard.failures)) == (2, 1)


async def test_who_seeks_a_path_waits_two_seconds_for_a_provider_that_says_nothing() -> None:
    heard, instants, provider = Heard(), [0.0], Silent(issued("ada", 3600.0))
    async with heard.by(provider, clock=lambda: instants[-1]) as refresher:
        instants.append(3601.0)
        awaited = refresher.awaited()
        assert awaited is not None
        await awaited
        assert provider.is_asked
        instants.append(3603.0)
        assert refresher.awaited() is None


async def test_a_look_before_it_is_time_asks_nobody() -> None:
    heard, provider = Heard(), Scripted(issued("ada", 3600.0))
    async with heard.by(provider) as refresher:
        refresher.look()
        await asyncio.sleep(0.05)
        assert provider.asked == 1


async def test_a_provider_whose_own_work_was_cancelled_is_asked_again() -> None:
    # Found by review: it ended the refresher without a word, and the credentials were never renewed.
    heard = Heard()
    async with heard.by(Scripted(asyncio.CancelledError(), issued("ada"))):
        await eventually(lambda: bool(heard.issued))
    assert [failure.reason for failure in heard.failures] == ["the provider raised CancelledError"]
