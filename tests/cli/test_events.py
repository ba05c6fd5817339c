"""`perdure events`: what happened, from a file that outlives the process and stays small."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING

import pytest

from perdure.control import events_file
from perdure.control.events_file import FILE, OLDER_FILE, EventsFile, read_events
from perdure.eventlog import log_event
from support.processes import output_of, running, running_gateway, running_rendezvous

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def logger() -> Iterator[logging.Logger]:
    made = logging.Logger("perdure.events", logging.DEBUG)
    yield made
    for handler in list(made.handlers):
        handler.close()


def kept(logger: logging.Logger, state: Path, role: str = "client") -> EventsFile:
    handler = EventsFile(state, role)
    logger.addHandler(handler)
    return handler


async def test_what_happened_to_a_tunnel_is_told_after_its_processes_have_ended(tmp_path: Path) -> None:
    state = tmp_path / "client"
    async with (
        running_rendezvous() as (_, url),
        running_gateway(url, state=tmp_path / "gateway") as (gateway, ticket),
        running(
            *("connect", ticket, "-L", "0:127.0.0.1:9", "--loopback", "--faults", "--log-level", "error"),
            *("--state-dir", str(state)),
        ) as client,
    ):
        await client.says("ready")
        mark = gateway.mark
        gateway.write("kill\n")
        await gateway.recovers(since=mark)
    shown = (await output_of("events", "--state-dir", str(state))).stdout
    names = [line.split()[4] for line in shown.seen]
    assert (names[0], names[-1]) == ("started", "ended")
    assert any("before=reconnecting after=connected" in line for line in shown.seen)
    assert "perdure2-" not in shown.text
    tunnel = next(line.partition("tube=")[2].split()[0] for line in shown.seen if "tube-state" in line)
    told = await output_of("events", "--state-dir", str(state), "--tunnel", tunnel[:5], "--json")
    assert {json.loads(line)["tube"] for line in told.stdout.seen} == {tunnel}
    assert (await output_of("events", "--state-dir", str(state), "--since", "2099-01-01")).stdout.seen == []
    both = (await output_of("events", "--state-dir", str(tmp_path / "gateway"))).stdout.text
    assert " gateway " in both


async def test_a_process_that_could_not_begin_left_a_word(tmp_path: Path) -> None:
    async with running("rendezvous", "--listen", "127.0.0.1:0") as other:
        port = (await other.says("ws://")).rpartition(":")[2]
        state = str(tmp_path / "state")
        gateway = ("serve", "--rendezvous", "ws://127.0.0.1:1", "--allow", "h:1", "--state-dir", state, "--ticket-file")
        async with running(*gateway, str(tmp_path / "ticket")) as program:
            await program.warns("waiting for the rendezvous")
        client = ("connect", f"@{tmp_path / 'ticket'}", "-L", f"127.0.0.1:{port}:h:1", "--state-dir", state)
        assert (await output_of(*client)).process.returncode == 6
    shown = (await output_of("events", "--state-dir", state)).stdout.text
    assert f"cannot listen on 127.0.0.1:{port}" in shown


def test_the_file_and_the_one_before_it_are_all_that_is_kept(
    tmp_path: Path, logger: logging.Logger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events_file, "MAX_FILE_BYTES", 10_000)
    handlers = [kept(logger, tmp_path, role) for role in ("client", "gateway")]  # as two processes have it
    for number in range(1000):
        for handler in handlers:
            handler.note("happened", number=number)
    sizes = [(tmp_path / name).stat().st_size for name in (FILE, OLDER_FILE)]
    assert all(size < 11_000 for size in sizes)
    assert {path.name for path in tmp_path.iterdir()} == {FILE, OLDER_FILE, "events.lock"}
    numbers = [event["number"] for event in read_events(tmp_path)]
    assert numbers[-2:] == [999, 999]
    assert numbers == sorted(numbers)
    assert (tmp_path / FILE).stat().st_mode & 0o777 == 0o600


def test_a_line_that_cannot_be_read_is_passed_over(tmp_path: Path, logger: logging.Logger) -> None:
    handler = kept(logger, tmp_path)
    handler.note("first")
    with (tmp_path / FILE).open("ab") as file:
        file.write(b"\0\0\0\n" + b"[" * 100_000 + b'\n{"time": "x"}\n[]\n{"time": 1e400}\n\xff\n')
    handler.note("second")
    assert [event["event"] for event in read_events(tmp_path) if "event" in event] == ["first", "second"]


def test_a_full_disk_and_a_folder_that_is_gone_stop_nothing(tmp_path: Path, logger: logging.Logger) -> None:
    state = tmp_path / "state"
    handler = kept(logger, state)
    for path in state.iterdir():
        path.unlink()
    state.rmdir()
    log_event(logger, logging.INFO, "happened")
    handler.close()
    log_event(logger, logging.INFO, "happened")


async def test_a_state_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file")
    program = await output_of("events", "--state-dir", str(tmp_path / "state"))
    assert program.process.returncode == 1
    assert "Not a directory" in program.stderr.text
    assert (await output_of("events", "--since", "soon")).process.returncode == 2
