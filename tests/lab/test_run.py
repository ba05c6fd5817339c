"""`perdure lab run` in real namespaces: what it measures, what it refuses, and that nothing of it stays behind."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from perdure_lab.lab.run import options
from perdure_lab.lab.subject import PERDURE
from perdure_lab.lab.tools import LabError, check
from perdure_lab.scenario.parse import parse_scenario
from support.families import command_of, descendants, gone

HEAD = 'title = "Short"\ntext = "A change."\nseconds = 3\n'

UNPLUGGED = "[client.eth]\n[[step]]\nat = 1\nclient.eth.cut = 'all'\n[[step]]\nat = 2\nclient.eth.cut = 'none'\n"

RUN_TIMEOUT = 90.0
"""Seconds: a run of 3 s takes about 6, and recoveries and a loaded machine some more."""


def reason_against(*needs: str, tun: bool = False) -> str:
    try:
        check(needs, tun=tun)
    except LabError as error:
        return str(error)
    return ""


needs_namespaces = pytest.mark.skipif(bool(reason_against()), reason=reason_against() or "it runs here")
needs_tun = pytest.mark.skipif(bool(reason_against(tun=True)), reason=reason_against(tun=True) or "it runs here")
needs_relay = pytest.mark.skipif(
    bool(reason_against("turnserver")), reason=reason_against("turnserver") or "it runs here"
)
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may become somebody else")


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that every user may read and write."""
    path = Path("/var/tmp", f"perdure-lab-test-{os.getpid()}")
    path.mkdir(mode=0o777)
    path.chmod(0o777)
    yield path
    shutil.rmtree(path)


async def start(*arguments: str, prefix: tuple[str, ...] = (), path: str = "") -> asyncio.subprocess.Process:
    """`perdure lab`; programs are looked for in the folder `path` first."""
    return await asyncio.create_subprocess_exec(
        *prefix,
        sys.executable,
        "-m",
        "perdure",
        "lab",
        *arguments,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=os.environ | {"COLUMNS": "200", "NO_COLOR": "1", "PATH": f"{path}:{os.environ['PATH']}".lstrip(":")},
    )


async def run(*arguments: str, prefix: tuple[str, ...] = (), path: str = "") -> tuple[int | None, str]:
    """Exit code and everything that was said."""
    process = await start("run", *arguments, prefix=prefix, path=path)
    async with asyncio.timeout(RUN_TIMEOUT):
        out, err = await process.communicate()
    assert "Traceback" not in err.decode()
    return process.returncode, out.decode() + err.decode()


def write(folder: Path, body: str) -> str:
    path = folder / "own.toml"
    path.write_text(HEAD + body)
    return str(path)


@needs_namespaces
async def test_a_run_measures_the_silence_of_each_direction_and_loses_nothing(folder: Path) -> None:
    result, page = folder / "result.json", folder / "page.html"
    code, said = await run(write(folder, UNPLUGGED), "--json", str(result), "--html", str(page))
    assert code == 0, said
    (report,) = json.loads(result.read_bytes())["reports"]
    (measured,) = report["runs"]
    assert measured["connections_kept"] == measured["connections"] == 2
    assert measured["bytes_lost"] == measured["bytes_wrong"] == 0
    assert measured["bytes_sent"] > 1_000_000
    cut, _ = measured["events"]
    assert cut["measured"]
    assert 1.0 <= cut["at"] < 1.5
    for direction in ("up", "down"):
        longest = max(
            silence["ended_at"] - silence["began_at"]
            for silence in measured["silences"]
            if silence["direction"] == direction
        )
        assert longest > 0.9, "nothing can come through a path that is cut for a second"
    assert measured["states"][0] == {"at": 0.0, "state": "connected"}
    assert page.read_text().startswith("<!DOCTYPE html>")


@needs_namespaces
async def test_a_file_that_cannot_be_written_costs_neither_the_table_nor_the_other_file(folder: Path) -> None:
    page = folder / "page.html"
    code, said = await run(write(folder, UNPLUGGED), "--json", "/dev/full", "--html", str(page))
    assert code == 1
    assert "/dev/full cannot be written: No space left on device" in said
    assert "1 scenario, 1 run of perdure: 1 passed" in said
    assert page.read_text().startswith("<!DOCTYPE html>")


@needs_tun
async def test_a_round_trip_that_was_asked_for_is_there(folder: Path) -> None:
    body = '[[step]]\nat = 1\nclient.eth.delay = "150ms"\nmeasure = true\n'
    result = folder / "result.json"
    code, said = await run(write(folder, body), "--json", str(result))
    assert code == 0, said
    (measured,) = json.loads(result.read_bytes())["reports"][0]["runs"]
    assert measured["impairment"] == "userspace"
    (step,) = measured["events"]
    longest = max(
        silence["ended_at"] - silence["began_at"]
        for silence in measured["silences"]
        if silence["direction"] == "up" and silence["began_at"] > step["at"] - 0.2
    )
    assert longest > 0.14, "the path became 150 ms longer"


@needs_namespaces
async def test_what_the_programs_log_is_kept_on_request(folder: Path) -> None:
    logs = folder / "logs"
    code, said = await run(write(folder, ""), "--logs", str(logs))
    assert code == 0, said
    for program, event in (("client", "tube-state"), ("gateway", "tube-state"), ("rendezvous", "joined")):
        assert f'"event": "{event}"' in (logs / f"own-perdure-1-{program}.log").read_text()


@needs_namespaces
async def test_logs_that_cannot_be_kept_fail_the_run_and_are_told(folder: Path) -> None:
    (folder / "logs" / "own-perdure-1-gateway.log").mkdir(parents=True)
    code, said = await run(write(folder, ""), "--logs", str(folder / "logs"))
    assert code == 1
    assert "own-perdure-1-gateway.log cannot be written: Is a directory" in said


@needs_relay
async def test_the_relay_carries_the_traffic_and_its_log_is_kept_too(folder: Path) -> None:
    path = write(folder, "relay = true\n[client.eth]\ncut = 'peers'\n")
    code, said = await run(path, "--logs", str(folder / "logs"))
    assert code == 0, said
    assert "Relay ports initialization done" in (folder / "logs" / "own-perdure-1-relay.log").read_text()


RELAY_THAT_ANSWERS_ONCE = f"""#!{sys.executable}
import socket, sys, time
server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind(("203.0.113.10", 3478))
request, client = server.recvfrom(100)
server.sendto(b"\\1\\1" + request[2:], client)
time.sleep(2)
sys.exit("too tired")
"""

RELAY_THAT_CANNOT = "#!/bin/sh\necho 'no such address' >&2\nexit 1\n"


@needs_namespaces
@pytest.mark.parametrize(
    ("program", "words"), [(RELAY_THAT_ANSWERS_ONCE, "too tired"), (RELAY_THAT_CANNOT, "no such address")]
)
async def test_a_relay_that_ends_fails_the_run_whenever_it_does(folder: Path, program: str, words: str) -> None:
    (folder / "turnserver").write_text(program)
    (folder / "turnserver").chmod(0o755)
    code, said = await run(write(folder, "relay = true\n"), path=str(folder))
    assert code == 1
    assert f"own: run 1: the relay ended with code 1: {words}" in said


@needs_namespaces
async def test_a_dropped_connection_fails_the_run_and_says_which(folder: Path) -> None:
    code, said = await run(write(folder, '[[step]]\nat = 1\nprocess.client = "kill"\n'))
    assert code == 1
    assert "own: run 1: 2 of 2 connections dropped" in said


PROXY = """
import asyncio, sys

async def pump(reader, writer):
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.write_eof()

async def accepted(reader, writer):
    further = await asyncio.open_connection(*sys.argv[3:5])
    await asyncio.gather(pump(reader, further[1]), pump(further[0], writer))

async def main():
    server = await asyncio.start_server(accepted, *sys.argv[1:3])
    open(sys.argv[5], "w").close()
    await server.serve_forever()

asyncio.run(main())
"""


@needs_namespaces
async def test_ones_own_program_runs_in_it_beside_perdure(folder: Path) -> None:
    (folder / "proxy.py").write_text(PROXY)
    (folder / "plain.toml").write_text(
        f'gateway = "{{python}} {folder}/proxy.py 0.0.0.0 9000 127.0.0.1 {{target_port}} {{directory}}/ready"\n'
        f'client = "{{python}} {folder}/proxy.py 127.0.0.1 {{port}} 192.168.20.10 9000 {{directory}}/client"\n'
        'ready_file = "{directory}/ready"\n'
    )
    result = folder / "result.json"
    code, said = await run(write(folder, UNPLUGGED), "--peer", str(folder / "plain.toml"), "--json", str(result))
    assert code == 0, said
    reports = json.loads(result.read_bytes())["reports"]
    assert [report["runs"][0]["subject"] for report in reports] == ["perdure", "plain"]
    plain = reports[1]["runs"][0]
    assert plain["connections_kept"] == 2
    assert plain["states"] == []
    assert max(silence["ended_at"] - silence["began_at"] for silence in plain["silences"]) > 0.9


@needs_namespaces
async def test_a_step_that_a_program_could_not_do_fails_the_run(folder: Path) -> None:
    (folder / "proxy.py").write_text("import os\ndel os.environ['PERDURE_LAB_CLOCK']\n" + PROXY)
    (folder / "plain.toml").write_text(
        f'gateway = "{{python}} {folder}/proxy.py 0.0.0.0 9000 127.0.0.1 {{target_port}} {{directory}}/ready"\n'
        f'client = "{{python}} {folder}/proxy.py 127.0.0.1 {{port}} 192.168.20.10 9000 {{directory}}/client"\n'
        'ready_file = "{directory}/ready"\n'
    )
    body = "".join(f"[[step]]\nat = {at}\nclock.{name} = 60\n" for at, name in ((1, "client"), (2, "gateway")))
    code, said = await run(write(folder, body), "--peer", str(folder / "plain.toml"), "--only-peers")
    assert code == 1
    assert "the client could not do what a step says (the clock's jump): KeyError: 'PERDURE_LAB_CLOCK'" in said


@needs_namespaces
@needs_root
async def test_somebody_who_is_not_root_runs_it_where_user_namespaces_are_allowed(folder: Path) -> None:
    nobody = ("setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups")
    if not works(*nobody, "unshare", "--user", "--map-root-user", "--net", sys.executable, "-c", "import perdure"):
        pytest.skip("another user may not make user namespaces, or cannot run this Python")
    code, said = await run(write(folder, UNPLUGGED), prefix=nobody)
    assert code == 0, said


@needs_namespaces
@needs_root
async def test_a_namespace_of_the_machine_with_the_same_name_is_not_touched(folder: Path) -> None:
    with namespace_of_the_machine("client") as state:
        before = state()
        code, said = await run(write(folder, UNPLUGGED))
        assert code == 0, said
        assert state() == before


@needs_namespaces
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
async def test_however_it_ends_no_process_and_no_mount_stays_behind(number: signal.Signals) -> None:
    with whole_machine_to_itself():
        before = mounts_and_namespaces()
        async with started("run", "minute-without-network") as lab:
            family = await asyncio.wait_for(full_family(lab.pid), RUN_TIMEOUT)
            lab.send_signal(number)
            async with asyncio.timeout(10):
                _, err = await lab.communicate()
            for pid in family:
                await gone(pid)
        assert err == b""
        assert lab.returncode == (-9 if number == signal.SIGKILL else 130)
        assert mounts_and_namespaces() == before


async def test_a_scenario_with_a_mistake_is_refused_with_file_line_and_reason(folder: Path) -> None:
    path = write(folder, "[[step]]\nat = 1\nclient.eth.upp = false\n")
    code, said = await run(path)
    assert code == 2
    assert f"{path}:6: there is no 'upp' here; did you mean up?" in said


async def test_an_unknown_scenario_has_a_nearest_name() -> None:
    code, said = await run("ethernet-to-wify")
    assert code == 2
    assert "did you mean ethernet-to-wifi?" in said


async def test_the_list_names_every_scenario_and_marks_the_short_form() -> None:
    process = await start("list")
    out, _ = await process.communicate()
    assert process.returncode == 0
    assert "minute-without-network" in out.decode()
    assert out.decode().count(" short ") == 6


def test_a_settings_value_is_passed_on_as_it_is() -> None:
    scenario = parse_scenario(
        HEAD + "relay = true\n[settings]\nreason = 'r'\nrestart.max_restarts_per_minute = 9\n", source="own", name="own"
    )
    own = dataclasses.replace(scenario, settings={**scenario.settings, "restart.braces": "{target} {}"})
    assert options(own, PERDURE, directory="/d", target_port=9)[-4:] == [
        *("--set", "restart.max_restarts_per_minute=9"),
        *("--set", 'restart.braces="{target} {}"'),
    ]


def test_a_missing_program_is_named_with_its_package() -> None:
    with pytest.raises(LabError, match=r"the lab needs no-such-program; .* apt install no-such-program"):
        check(["no-such-program"])


@contextlib.asynccontextmanager
async def started(*arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await start(*arguments)
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def full_family(pid: int) -> list[int]:
    """Every descendant, as soon as the tunnel's client is among them and runs."""
    while True:
        family = list(descendants(pid))
        if any("connect" in command_of(each) for each in family):
            return family
        await asyncio.sleep(0.05)


def works(*command: str) -> bool:
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def mounts_and_namespaces() -> tuple[list[str], list[str]]:
    """The machine's own, without the namespaces that netmon's tests make meanwhile in another run."""
    mounts = Path("/proc/self/mounts").read_text().splitlines()
    named = Path("/run/netns")
    names = os.listdir(named) if named.is_dir() else []
    return (
        [line for line in mounts if "/run/netns" not in line],
        sorted(name for name in names if not name.startswith("perdure-netmon-")),
    )


@contextlib.contextmanager
def namespace_of_the_machine(name: str) -> Iterator[Callable[[], object]]:
    """Make one for the test; gives a function that tells its state."""
    path = Path("/run/netns", name)
    with whole_machine_to_itself():
        if path.exists():
            pytest.skip(f"the machine has a namespace called {name}")
        subprocess.run(["ip", "netns", "add", name], check=True)
        try:
            yield lambda: (path.stat().st_ino, subprocess.check_output(["ip", "-n", name, "address"]))
        finally:
            subprocess.run(["ip", "netns", "delete", name], check=True)


@contextlib.contextmanager
def whole_machine_to_itself() -> Iterator[None]:
    """Mounts and named namespaces are the machine's: another run of the suite beside this one waits here."""
    with Path(tempfile.gettempdir(), "perdure-tests.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
