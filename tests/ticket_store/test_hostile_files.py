"""Files that hold no tickets, folders that fail, full disks: they are told, and end nothing that works."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from perdure.admission import Verdict
from perdure.errors import TicketError
from perdure.keys import key_text
from perdure.private_files import LOCK_FILE, locked
from perdure.ticket_store import TicketStore
from support.ticket_stores import URL, next_change, serving

if TYPE_CHECKING:
    from pathlib import Path

NOW = 1_800_000_000.0
ADA, BOB, EVE = b"a" * 32, b"b" * 32, b"e" * 32


@pytest.mark.parametrize(
    "how", ["garbage", "huge", "directory", "fifo", "link", "loop", "deep", "other", "newer", "late"]
)
async def test_a_file_that_holds_no_ticket_is_told_and_breaks_no_other(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, how: str
) -> None:
    TicketStore(tmp_path).create("good", now=NOW)
    good, bad = tmp_path / "tickets" / "good.json", tmp_path / "tickets" / "bad.json"
    match how:
        case "garbage":
            bad.write_bytes(b"\xff\x00{")
        case "huge":
            bad.write_bytes(b" " * (512 * 1024 + 1))
        case "directory":
            bad.mkdir()
        case "fifo":
            os.mkfifo(bad)
        case "link":
            (tmp_path / "elsewhere").write_text(good.read_text().replace('"good"', '"bad"'))
            bad.symlink_to(tmp_path / "elsewhere")
        case "loop":
            bad.symlink_to(bad)
        case "deep":
            bad.write_text('{"name":' + "[" * 100_000)
        case "other":
            bad.write_bytes(good.read_bytes())
        case "newer":
            bad.write_text(good.read_text().replace('"good"', '"bad", "colour": "blue"'))
        case "late":
            bad.write_text(good.read_text().replace('"good"', '"bad"').replace("00Z", "00"))
    store = TicketStore(tmp_path)
    assert list(store.names) == ["good"]
    assert f"the ticket file {bad} cannot be used, and it is left out" in caplog.text
    with pytest.raises(TicketError, match="there is a ticket called bad already"):
        store.create("bad", now=NOW)
    async with serving(tmp_path) as (served, _):
        caplog.clear()
        await served.flush()
        await served.flush()
        assert list(served.names) == ["good"]
        assert caplog.text == ""


@pytest.mark.parametrize("field", ["created_at", "expires_at", "revoked_at"])
@pytest.mark.parametrize("date", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "1969-12-31T23:59:59.5Z"])
def test_a_date_that_cannot_be_written_again_is_told_and_its_ticket_left_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, field: str, date: str
) -> None:
    TicketStore(tmp_path).create("ada", now=NOW)
    path = tmp_path / "tickets" / "ada.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {field: date}))
    assert list(TicketStore(tmp_path).names) == []
    assert "is not between 1970 and the end of the year 9999" in caplog.text


def test_a_ticket_that_ended_when_unix_time_began_is_not_one_without_an_end(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    TicketStore(tmp_path).create("ada", now=NOW)
    path = tmp_path / "tickets" / "ada.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"expires_at": "1970-01-01T00:00:00Z"}))
    assert list(TicketStore(tmp_path).names) == []
    assert "is not between 1970 and the end of the year 9999" in caplog.text


def test_a_folder_that_others_can_write_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    TicketStore(tmp_path).create("ada", now=NOW)
    assert caplog.text == ""
    (tmp_path / "tickets").chmod(0o770)
    tmp_path.chmod(0o757)
    assert list(TicketStore(tmp_path).names) == ["ada"]
    for folder in (tmp_path, tmp_path / "tickets"):
        assert f"others can write the folder {folder}: chmod go-w {folder}" in caplog.text


def test_a_copied_ticket_is_told_and_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    ada = TicketStore(tmp_path).create("ada", now=NOW)
    copy = tmp_path / "tickets" / "copy.json"
    copy.write_text((tmp_path / "tickets" / "ada.json").read_text().replace('"ada"', '"copy"'))
    store = TicketStore(tmp_path)
    assert store.find(ada.ticket_id) == ada
    assert "the ticket copy has the secret of another one, and is left out" in caplog.text
    assert f"others can read or write the ticket file {copy}: chmod 600" in caplog.text


async def test_a_ticket_that_cannot_be_read_any_more_stays_as_it_was(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ada = TicketStore(tmp_path).create("ada", now=NOW)
    path = tmp_path / "tickets" / "ada.json"
    async with serving(tmp_path) as (store, changed):
        content = path.read_text()
        path.write_text(content[:50])
        await store.flush()
        assert f"{path} cannot be used, and it stays as it was" in caplog.text
        assert store.judge(ada.ticket_id, ADA, now=NOW).verdict is Verdict.OK
        store.began(ada.ticket_id, ADA, now=NOW)
        await store.flush()
        assert "who uses" in caplog.text
        assert path.read_text() == content[:50]
        path.write_text(content.replace('"revoked_at": null', '"revoked_at": "2027-01-15T08:00:00Z"'))
        changed.clear()
        await next_change(changed)
        assert store.judge(ada.ticket_id, ADA, now=NOW).verdict is Verdict.REVOKED


async def test_a_folder_that_is_gone_ends_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    state = tmp_path / "state"
    ada = TicketStore(state).create("ada", now=NOW)
    async with serving(state) as (store, _):
        state.rename(tmp_path / "away")
        store.began(ada.ticket_id, ADA, now=NOW)  # which cannot be written, and does not end it
        for _ in range(3):
            await store.flush()
        assert caplog.text.count("the tickets cannot be read, and stay as they were: the folder is gone") == 1
        assert store.judge(ada.ticket_id, ADA, now=NOW).verdict is Verdict.OK
        (tmp_path / "away").rename(state)
        TicketStore(state).revoke("ada", now=NOW)
        await store.flush()
        assert store.judge(ada.ticket_id, ADA, now=NOW).verdict is Verdict.REVOKED
    assert [list(ticket.clients) for ticket in TicketStore(state)] == [[ADA]]


async def test_a_folder_that_others_can_write_is_told_once_though_it_has_no_tickets(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "tickets").mkdir()
    (tmp_path / "tickets").chmod(0o777)
    async with serving(tmp_path) as (store, _):
        for _ in range(5):
            await store.flush()
    assert caplog.text.count("others can write the folder") == 1


@pytest.mark.parametrize("how", ["symlink", "hard link", "directory", "fifo"])
def test_a_lock_that_is_something_else_is_not_opened(tmp_path: Path, how: str) -> None:
    """Root locks the folders of others, and gives them what it makes there."""
    other, lock = tmp_path / "other", tmp_path / "state" / LOCK_FILE
    lock.parent.mkdir()
    other.write_text("")
    match how:
        case "symlink":
            lock.symlink_to(other)
        case "hard link":
            lock.hardlink_to(other)
        case "directory":
            lock.mkdir()
        case "fifo":
            os.mkfifo(lock)
    with pytest.raises(OSError), locked(lock.parent):  # noqa: PT011 - the system's words differ
        pytest.fail("it was taken")


FULL = """
import asyncio, logging, pathlib, resource, signal, sys
from perdure.errors import TicketError
from perdure.ticket_store import TicketStore
logging.basicConfig(format="%(message)s")
async def main():
    store = TicketStore(pathlib.Path(sys.argv[1]))
    ticket = store.create("ada", now=1, uses=1)
    store.begin_serving("ws://127.0.0.1:1")
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, hard))
    store.began(ticket.ticket_id, bytes(32), now=2)
    for _ in range(3):
        await store.flush()
    print(store.judge(ticket.ticket_id, bytes([1]) * 32, now=3).verdict)
    for change in (lambda: store.create("bob", now=1), lambda: store.revoke("ada", now=1)):
        try:
            change()
        except TicketError as error:
            print(error)
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    await store.end_serving()
asyncio.run(main())
"""


def test_a_full_disk_is_told_once_and_written_later(tmp_path: Path) -> None:
    """The limit of a file's size stands for the disk: a write fails half way, as on a full one."""
    done = subprocess.run(
        [sys.executable, "-c", FULL, str(tmp_path)], capture_output=True, text=True, check=True, timeout=60
    )
    verdict, create, revoke = done.stdout.splitlines()
    assert verdict == "used up"
    tickets = tmp_path / "tickets"
    assert create == f"the ticket file {tickets / 'bob.json'} cannot be written: File too large"
    assert revoke == f"the ticket file {tickets / 'ada.json'} cannot be changed: File too large"
    assert done.stderr.count("File too large") == 1
    assert sorted(os.listdir(tickets)) == ["ada.json"]
    assert [list(ticket.clients) for ticket in TicketStore(tmp_path)] == [[bytes(32)]]


def test_what_a_killed_writer_left_is_removed(tmp_path: Path) -> None:
    store = TicketStore(tmp_path)
    store.create("ada", now=NOW)
    (tmp_path / "tickets" / ".ada.json.77.tmp").write_text("half")
    store.begin_serving(URL)
    assert os.listdir(tmp_path / "tickets") == ["ada.json"]


async def test_the_authorized_keys_are_read_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "authorized"
    path.write_text(f"# who may\n\n{key_text(ADA)} ada's laptop\n{key_text(BOB)}\n")
    ticket_id = TicketStore(tmp_path).create("ada", now=time.time()).ticket_id
    async with serving(tmp_path, authorized_keys=path) as (store, changed):

        def admitted() -> list[bool]:
            return [store.judge(ticket_id, key, now=NOW).verdict is Verdict.OK for key in (ADA, BOB, EVE)]

        assert admitted() == [True, True, False]
        path.write_text(f"{key_text(EVE)}\n")
        await next_change(changed)
        assert admitted() == [False, False, True]
        path.write_text(f"{key_text(ADA)}\nnonsense\n")
        await store.flush()
        assert f"{path}: line 2: 'nonsense' is no public key" in caplog.text
        assert admitted() == [False, False, True]


@pytest.mark.parametrize("how", ["missing", "writable", "garbage", "fifo"])
def test_authorized_keys_that_cannot_be_used_are_told_at_the_start(tmp_path: Path, how: str) -> None:
    path = tmp_path / "authorized"
    if how == "fifo":
        os.mkfifo(path)
    elif how != "missing":
        path.write_text("nonsense\n" if how == "garbage" else f"{key_text(ADA)}\n")
        path.chmod(0o666 if how == "writable" else 0o644)
    with pytest.raises(TicketError, match=f"{path}"):
        TicketStore(authorized_keys=path)


def test_a_folder_that_is_none_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(TicketError, match=r"the state folder .* cannot be read: Not a directory"):
        TicketStore(tmp_path / "file")
