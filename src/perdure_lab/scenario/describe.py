"""Steps in words, where the scenario's author gave none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import assert_never

from perdure_lab.scenario.model import (
    Action,
    ClockJump,
    Cut,
    Link,
    LinkChange,
    LinkName,
    MappingLost,
    ProcessAction,
    ProcessChange,
)


def describe(actions: Sequence[Action], links: Mapping[LinkName, Link]) -> str:
    """`links`: as they are before the step."""
    return "; ".join(_one(action, links) for action in actions)


def can_interrupt(actions: Sequence[Action]) -> bool:
    """Whether silence must be expected after them."""
    return any(map(_interrupts, actions))


def _interrupts(action: Action) -> bool:
    match action:
        case LinkChange(_, values):
            lost = values.get("up") is False or values.get("plugged") is False
            return lost or "addresses" in values or values.get("cut", Cut.NONE) is not Cut.NONE
        case MappingLost():
            return True
        case ProcessChange(process, process_action):
            return process != "rendezvous" and process_action in (ProcessAction.STOP, ProcessAction.KILL)
        case ClockJump():
            return True
    assert_never(action)


def _one(action: Action, links: Mapping[LinkName, Link]) -> str:
    match action:
        case LinkChange(name, values):
            parts = [text for key, value in values.items() if (text := _field(key, value, links[name]))]
            return f"{name.site} {name.name}: {', '.join(parts)}"
        case MappingLost(link):
            return f"{link.site} {link.name}: the NAT forgets its mappings"
        case ProcessChange(process, process_action):
            return f"{process}: {_PROCESS_ACTIONS[process_action]}"
        case ClockJump(process, seconds):
            return f"{process}: its clock jumps by {seconds:g} s"
    assert_never(action)


_PROCESS_ACTIONS = {
    ProcessAction.STOP: "the process is stopped",
    ProcessAction.CONTINUE: "the process runs on",
    ProcessAction.KILL: "the process is killed",
    ProcessAction.START: "the process is started",
    ProcessAction.ROTATE: "its tubes move to another carrier, as planned",
}

_CUTS = {
    Cut.NONE: "the path is whole again",
    Cut.ALL: "every packet is swallowed",
    Cut.OUTGOING: "every packet that goes out is swallowed",
    Cut.INCOMING: "every packet that comes in is swallowed",
    Cut.PEERS: "every packet between the peers is swallowed",
    Cut.PEERS_UDP: "UDP between the peers is swallowed",
}


def _field(key: str, value: object, link: Link) -> str:
    match key, value:
        case "up", bool():
            return "on" if value else "off"
        case "plugged", bool():
            return "plugged in" if value else "unplugged"
        case "addresses", tuple():
            return f"address {', '.join(value) or 'none'}" if value != link.addresses else ""
        case "cut", Cut():
            return _CUTS[value]
        case "delay" | "jitter", float():
            return f"{key} {value * 1000:g} ms"
        case "loss", float():
            return f"loss {value * 100:g} %"
        case "rate", float():
            return f"{value / 1000:g} kB/s"
        case "rate", None:
            return "no limit of the rate"
        case _:
            return f"{key} {value}"
