"""The network is what the scenario asked for: round trips, losses, and the kinds of NAT, on the real kernel."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from perdure_lab.lab.tools import LabError, check, isolated


def reason_against(*needs: str, tun: bool = False) -> str:
    try:
        check(needs, tun=tun)
    except LabError as error:
        return str(error)
    return ""


needs_namespaces = pytest.mark.skipif(bool(reason_against()), reason=reason_against() or "it runs here")
needs_tun = pytest.mark.skipif(bool(reason_against(tun=True)), reason=reason_against(tun=True) or "it runs here")
needs_conntrack = pytest.mark.skipif(
    bool(reason_against("conntrack")), reason=reason_against("conntrack") or "it runs here"
)


async def seen(tmp_path: Path, link: str, count: int = 1) -> Any:
    """What `in_a_network.py` saw with `link` as the client's."""
    path = tmp_path / "own.toml"
    path.write_text(f'title = "t"\ntext = "x."\nseconds = 5\n[client.eth]\n{link}\n')
    script = Path(__file__).with_name("in_a_network.py")
    process = await asyncio.create_subprocess_exec(
        *isolated(sys.executable, str(script), str(path), str(count)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(60):
        out, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    return json.loads(out)


@needs_tun
async def test_a_round_trip_takes_what_was_asked_and_little_more(tmp_path: Path) -> None:
    result = await seen(tmp_path, 'delay = "25ms"', 1000)
    durations = result["durations"]
    assert len(durations) == 1000
    assert 0.05 <= durations[0] < 0.055, "the quickest: a busy machine has made others wait"


@needs_tun
async def test_the_asked_share_is_lost_each_way(tmp_path: Path) -> None:
    result = await seen(tmp_path, "loss = 0.1", 3000)
    assert 0.08 < 1 - result["arrived"] / 3000 < 0.12
    assert 0.16 < 1 - len(result["durations"]) / 3000 < 0.22


@needs_namespaces
@pytest.mark.parametrize(("cut", "arrived"), [("outgoing", 0), ("incoming", 20)])
async def test_a_link_that_swallows_one_direction_carries_the_other(tmp_path: Path, cut: str, arrived: int) -> None:
    result = await seen(tmp_path, f'cut = "{cut}"', 20)
    assert result == {"durations": [], "arrived": arrived}


@needs_conntrack
async def test_an_endpoint_independent_nat_shows_everybody_the_same_port_until_it_forgets(tmp_path: Path) -> None:
    result = await seen(tmp_path, 'nat = "endpoint-independent"')
    there, elsewhere = result["before"]
    assert there == elsewhere
    assert there[0] != "192.168.10.10"
    assert result["again"] == result["before"]
    assert result["reached"]
    assert result["lost"]
    assert result["after"][0] == result["after"][1] != there


@needs_conntrack
async def test_a_symmetric_nat_shows_everybody_another_port(tmp_path: Path) -> None:
    result = await seen(tmp_path, 'nat = "symmetric"')
    assert result["before"][0] != result["before"][1]
    assert result["again"] == result["before"]
    assert result["lost"]
    assert not {tuple(each) for each in result["after"]} & {tuple(each) for each in result["before"]}
