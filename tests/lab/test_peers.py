"""The peers that the lab knows: their command lines, what they say where something is missing, and a run of one."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from perdure_lab.lab.subject import filled
from perdure_lab.lab.tools import LabError, check, isolated, search_path
from perdure_lab.peers.subjects import PEERS

if sys.platform != "linux":
    pytest.skip("the lab is made of Linux' network namespaces", allow_module_level=True)

RUN_TIMEOUT = 120.0
"""Seconds: a run of 3 s takes about 6, and a loaded machine some more."""

SHORT = """
title = "Short"
text = "The path is cut for a second."
seconds = 3
[client.eth]
[[step]]
at = 1
client.eth.cut = "all"
[[step]]
at = 2
client.eth.cut = "none"
"""

RENEWED = """
title = "Renewed"
text = "The only link gets another address."
seconds = 3
[client.eth]
[[step]]
at = 1
client.eth.addresses = ["192.168.50.20"]
"""

WITHOUT_MPTCP = 'echo 0 > /proc/sys/net/mptcp/enabled; exec "$@"'

WITHOUT_TUN = 'mount -t tmpfs tmpfs /dev/net; exec "$@"'

KILLED_TWICE = """
mount -t tmpfs tmpfs /run
folder=$1; shift
for _ in 1 2; do
    rm -f "$folder/exchange"
    "$@" &
    while kill -0 $! && ! test -e "$folder/exchange"; do sleep 0.05; done
    test -e "$folder/exchange" && ip -o link show dev wg-gateway | cut -d: -f2
    kill -KILL $!
    while ip link show dev wg-gateway >/dev/null 2>&1; do sleep 0.05; done
done
"""
"""A shell's words for a gateway that is killed, started anew and killed again; they tell the interface that it had."""

WITHOUT_MODULE = """
import runpy, sys
missing, program, *words = sys.argv[1:]
sys.modules[missing] = None
sys.argv = [program, *words]
runpy.run_module(program, run_name="__main__")
"""

peers = pytest.mark.parametrize("name", sorted(PEERS))


def may_run() -> bool:
    try:
        check()
    except LabError:
        return False
    return os.geteuid() == 0


needs_the_lab = pytest.mark.skipif(not may_run(), reason="needs root and what the lab needs")
needs_mptcp = pytest.mark.skipif(
    not may_run() or not Path("/proc/sys/net/mptcp").exists(), reason="needs root, the lab and a kernel with MPTCP"
)

needs_wireguard = pytest.mark.skipif(
    not may_run()
    or not os.access("/dev/net/tun", os.R_OK | os.W_OK)
    or any(shutil.which(name, path=search_path()) is None for name in ("wireguard-go", "wg")),
    reason="needs root, the lab, /dev/net/tun, wireguard-go and wg",
)


def test_the_lab_knows_the_peers_of_the_benchmarks() -> None:
    assert set(PEERS) == {"fowl", "iroh", "keeper", "mptcp", "ssh", "wireguard", "wrtc"}


@peers
def test_a_peers_command_lines_can_be_filled_in(name: str) -> None:
    subject = PEERS[name]
    assert subject.name == name
    gateway = filled((*subject.gateway, *subject.relay_options), directory="/d", target_port=9)
    client = filled((*subject.client, *subject.relay_options), directory="/d", target_port=9)
    assert gateway[:2] == [sys.executable, "-m"]
    assert gateway[3:6] == ["gateway", "/d", "127.0.0.1:9"]
    assert client[3:6] == ["client", "/d", "7000"]
    if subject.ready_file:
        assert filled((subject.ready_file,), directory="/d", target_port=9) == ["/d/exchange"]


@peers
def test_a_peers_program_takes_the_words_that_the_lab_gives_it(name: str) -> None:
    words = (*PEERS[name].gateway, *PEERS[name].relay_options, "--help")
    said = subprocess.run(filled(words, directory="/d", target_port=9), capture_output=True, text=True, check=True)
    assert "gateway FOLDER HOST:PORT" in said.stdout


@pytest.mark.parametrize(
    ("name", "side", "missing", "package"),
    [
        ("keeper", "gateway", "keeper_pam_webrtc_rs", "keeper-pam-webrtc-rs"),
        ("fowl", "client", "fowl", "fowl"),
        ("iroh", "client", "iroh", "iroh"),
        ("fowl", "rendezvous", "fowl", "fowl"),
    ],
)
def test_a_package_that_is_missing_is_named(name: str, side: str, missing: str, package: str, tmp_path: Path) -> None:
    python, _, program, *words = filled(getattr(PEERS[name], side), directory=str(tmp_path), target_port=9)
    command = [python, "-c", WITHOUT_MODULE, missing, program, *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=RUN_TIMEOUT, check=False)
    assert done.returncode == 1
    assert done.stderr == f"{package} is not installed: pip install 'perdure[benchmark]'\n"


@pytest.mark.parametrize(
    ("name", "program", "package"),
    [
        ("ssh", "ssh", "openssh-client"),
        ("mptcp", "ip", "iproute2"),
        ("wireguard", "wireguard-go", "wireguard-go"),
    ],
)
def test_a_program_that_is_missing_is_named(name: str, program: str, package: str, tmp_path: Path) -> None:
    command = filled(PEERS[name].gateway, directory=str(tmp_path), target_port=9)
    empty = os.environ | {"PATH": str(tmp_path)}
    done = subprocess.run(command, capture_output=True, text=True, timeout=RUN_TIMEOUT, env=empty, check=False)
    assert done.returncode == 1
    assert done.stderr == f"the peer {name} needs {program}; on Debian and Ubuntu: apt install {package}\n"


def gateway_behind(script: str, name: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """The peer's gateway, in a world that `script` has changed before."""
    command = filled(PEERS[name].gateway, directory=str(folder), target_port=9)
    changed = isolated("sh", "-c", script, "sh", *command)
    return subprocess.run(changed, capture_output=True, text=True, timeout=RUN_TIMEOUT, check=False)


@needs_mptcp
def test_a_kernel_without_mptcp_is_told(tmp_path: Path) -> None:
    done = gateway_behind(WITHOUT_MPTCP, "mptcp", tmp_path)
    assert done.returncode == 1
    assert done.stderr == "the peer mptcp needs a kernel with MPTCP (net.mptcp.enabled = 1)\n"


@needs_wireguard
def test_a_machine_without_tun_devices_is_told(tmp_path: Path) -> None:
    done = gateway_behind(WITHOUT_TUN, "wireguard", tmp_path)
    assert done.returncode == 1
    assert done.stderr == "the peer wireguard must open /dev/net/tun, and may not: run the lab as root\n"


@needs_wireguard
def test_a_killed_wireguard_leaves_no_interface_and_can_be_started_anew(tmp_path: Path) -> None:
    command = filled(PEERS["wireguard"].gateway, directory=str(tmp_path), target_port=9)
    killed = isolated("sh", "-c", KILLED_TWICE, "sh", str(tmp_path), *command)
    done = subprocess.run(killed, capture_output=True, text=True, timeout=RUN_TIMEOUT, check=True)
    assert done.stdout.split() == ["wg-gateway", "wg-gateway"], done.stderr


@needs_the_lab
async def test_the_bare_engine_waits_for_a_path_that_is_cut(tmp_path: Path) -> None:
    assert await longest_silence("wrtc", SHORT, tmp_path) > 0.9, "nothing can come through for a second"


@needs_the_lab
@pytest.mark.skipif(importlib.util.find_spec("iroh") is None, reason="iroh is not installed")
async def test_iroh_waits_for_a_path_that_is_cut(tmp_path: Path) -> None:
    assert await longest_silence("iroh", SHORT, tmp_path) > 0.9, "nothing can come through for a second"


@needs_mptcp
async def test_mptcp_takes_the_new_address_of_its_only_link(tmp_path: Path) -> None:
    await longest_silence("mptcp", RENEWED, tmp_path)


@needs_wireguard
async def test_wireguard_takes_the_new_address_of_its_only_link(tmp_path: Path) -> None:
    await longest_silence("wireguard", RENEWED, tmp_path)


async def longest_silence(peer: str, text: str, folder: Path) -> float:
    """Seconds, of a run in which nothing was lost."""
    scenario, result = folder / "short.toml", folder / "result.json"
    scenario.write_text(text)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "perdure", "lab", "run", str(scenario)),
        *("--only-peers", "--peer", peer, "--json", str(result)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    async with asyncio.timeout(RUN_TIMEOUT):
        said, _ = await process.communicate()
    assert process.returncode == 0, said.decode()
    (report,) = json.loads(result.read_bytes())["reports"]
    (run,) = report["runs"]
    assert run["subject"] == peer
    assert run["connections_kept"] == 2
    assert run["bytes_lost"] == run["bytes_wrong"] == 0
    return float(max((silence["ended_at"] - silence["began_at"] for silence in run["silences"]), default=0.0))
