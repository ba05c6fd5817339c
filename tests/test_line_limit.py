"""Of many lines about one event some are left out, and their number is told."""

from __future__ import annotations

import asyncio
import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perdure.eventlog import LoggedEvent, tell_left_out
from perdure.line_limit import (
    MAX_LINES_OF_KIND,
    MAX_LINES_OF_TUBE,
    MAX_WINDOWS,
    WINDOW_SECONDS,
    LeftOut,
    LineLimit,
)
from perdure.wire import ResetCode
from support.application_pair import ApplicationPair
from support.processes import running_tunnel
from support.recorder import TIMEOUT, Recorder
from support.targets import connected

NOW = 100.0


def admitted(limit: LineLimit, count: int, kind: str = "refused", tube: str | None = "1", now: float = NOW) -> int:
    return sum(limit.admits(kind, tube, logging.WARNING, now) for _ in range(count))


def test_the_first_lines_are_logged_and_the_others_counted() -> None:
    limit = LineLimit()
    assert admitted(limit, 5000) == MAX_LINES_OF_TUBE
    assert limit.due(NOW + WINDOW_SECONDS - 0.1) == []
    assert limit.next_due_at == NOW + WINDOW_SECONDS
    over = LeftOut("refused", "1", logging.WARNING, 5000 - MAX_LINES_OF_TUBE, WINDOW_SECONDS)
    assert limit.due(NOW + WINDOW_SECONDS) == [over]
    assert limit.due(NOW + WINDOW_SECONDS) == []
    assert admitted(limit, 1, now=NOW + WINDOW_SECONDS) == 1


def test_another_tube_and_another_kind_have_lines_of_their_own() -> None:
    limit = LineLimit()
    admitted(limit, 5000)
    assert admitted(limit, 1, tube="2") == 1
    assert admitted(limit, 1, kind="failed") == 1


def test_many_tubes_together_have_a_bound_too() -> None:
    limit = LineLimit()
    assert sum(admitted(limit, 10, tube=str(number)) for number in range(1000)) == MAX_LINES_OF_KIND
    assert admitted(limit, 1, kind="failed") == 1
    over = LeftOut("refused", None, logging.WARNING, 10_000 - MAX_LINES_OF_KIND, WINDOW_SECONDS)
    assert limit.due(NOW + WINDOW_SECONDS) == [over]


def test_nothing_is_told_where_nothing_was_left_out() -> None:
    limit = LineLimit()
    admitted(limit, MAX_LINES_OF_TUBE)
    assert limit.next_due_at == float("inf")
    assert limit.due(NOW + WINDOW_SECONDS) == limit.rest(NOW) == []


def test_tubes_that_come_and_go_are_told_early_and_not_kept() -> None:
    limit = LineLimit()
    told = []
    for number in range(3 * MAX_WINDOWS):
        told += limit.due(NOW)
        admitted(limit, MAX_LINES_OF_TUBE + 1, kind=str(number), tube="1")
    told += limit.rest(NOW)
    assert sum(each.count for each in told if each.tube == "1") == 3 * MAX_WINDOWS
    assert limit.rest(NOW) == []


@given(
    st.lists(
        st.tuples(st.sampled_from("ab"), st.sampled_from(["1", "2", None]), st.floats(0, 30), st.integers(1, 2000)),
        max_size=12,
    )
)
def test_each_line_is_logged_or_counted(lines: list[tuple[str, str | None, float, int]]) -> None:
    limit, now, seen, told = LineLimit(), NOW, 0, []
    for kind, tube, waited, count in lines:
        now += waited
        told += limit.due(now)
        seen += admitted(limit, count, kind, tube, now)
    told += limit.rest(now)
    assert seen + sum(each.count for each in told) == sum(count for *_, count in lines)


def events(records: list[logging.LogRecord], name: str) -> list[LoggedEvent]:
    return [record.msg for record in records if isinstance(record.msg, LoggedEvent) and record.msg.name == name]


async def test_a_peer_that_opens_forbidden_streams_does_not_fill_the_log(caplog: pytest.LogCaptureFixture) -> None:
    # Found by attack: 8,300 lines a second.
    count = 5000
    tell_left_out()
    async with ApplicationPair(incoming=None) as tubes:
        await tubes.connect()
        caplog.clear()
        for _ in range(count // 500):
            streams = [Recorder.open(tubes.here.manager) for _ in range(500)]
            for stream in streams:
                async with asyncio.timeout(TIMEOUT):
                    assert await stream.reset is ResetCode.NOT_ALLOWED
        tell_left_out()
        tube = tubes.there.tube_id
        refused = events(caplog.records, "stream-refused")
        left_out = [each for each in events(caplog.records, "lines-left-out") if each.fields.get("tube") == tube]
        assert len(refused) <= MAX_LINES_OF_TUBE * len(left_out) < count / 10
        assert len(refused) + sum(int(str(each.fields["count"])) for each in left_out) == count
        assert {each.fields["kind"] for each in left_out} == {"stream-refused"}


async def test_a_gateway_tells_by_itself_how_many_lines_it_left_out_and_at_its_end() -> None:
    async with running_tunnel("127.0.0.1:9", allow=["127.0.0.1:10"]) as tunnel:
        count = 0
        for _ in range(2):
            since = tunnel.gateway.mark
            for _ in range(3 * MAX_LINES_OF_TUBE):
                with pytest.raises(ConnectionResetError):  # as soon as it is made, or later
                    async with connected(tunnel.port()) as (reader, _writer):
                        await reader.read()
                count += 1
            if count == 3 * MAX_LINES_OF_TUBE:
                await tunnel.gateway.logs("lines-left-out", since=since, kind="stream-refused")
        assert await tunnel.gateway.stop() == 0
        lines = tunnel.gateway.log
        refused = sum(line["event"] == "stream-refused" for line in lines)
        told = [line for line in lines if line["event"] == "lines-left-out" and line["kind"] == "stream-refused"]
        assert len(told) >= 2
        assert refused + sum(int(str(line["count"])) for line in told) == count
        assert {line["level"] for line in told} == {"WARNING"}
