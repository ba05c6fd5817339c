"""A scenario out of its TOML text. `docs/lab.md` says what may stand in it; every mistake has its file and line."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from ipaddress import ip_network
from itertools import combinations
from typing import Any

from perdure.configfile import Layer
from perdure_lab.scenario.describe import can_interrupt, describe
from perdure_lab.scenario.document import document
from perdure_lab.scenario.expectation import SHORTEST_LIMIT, Expectation
from perdure_lab.scenario.model import (
    PROCESSES,
    SITES,
    Action,
    ClockJump,
    Cut,
    Deed,
    Link,
    LinkChange,
    LinkName,
    MappingLost,
    Nat,
    ProcessDeed,
    Scenario,
    Step,
    Traffic,
)
from perdure_lab.scenario.reading import Table, nearest, shown

MAX_SECONDS = 3600.0
MAX_STEPS = 1000
MAX_LINKS = 8
"""Of a site; each has an interface and a router of its own."""

STATES = ("connected", "degraded", "reconnecting")
"""States that a scenario may ask for."""

_SILENCES = ("silence_p50", "silence_worst", "after_p50", "after_worst")


def parse_scenario(text: str, *, source: str, name: str) -> Scenario:
    """The scenario `name` in `text`; `source` is what errors call the file.

    Raises:
        ScenarioError: with file, line and reason.
    """
    top = Table(source, text, (), document(text, source, lists=("step",)))
    top.knows(("title", "text", "seconds", "short_seconds", "relay", "settings", "traffic", *SITES, "step", "expect"))
    links = _links(top)
    seconds = top.seconds("seconds", None, 1, MAX_SECONDS)
    steps = _steps(top, links, seconds)
    settings, reason = _settings(top.table("settings"))
    short_seconds = top.seconds("short_seconds", None, 1, seconds) if "short_seconds" in top.values else None
    scenario = Scenario(
        name=name,
        title=top.string("title"),
        text=top.string("text"),
        seconds=seconds,
        links=links,
        steps=steps,
        short_seconds=short_seconds,
        relay=top.boolean("relay", default=False),
        settings=settings,
        settings_reason=reason,
        traffic=_traffic(top.table("traffic")),
        expectation=_expectation(top.table("expect")),
    )
    _check_limits(top.table("expect"), scenario)
    return scenario


def _links(top: Table) -> dict[LinkName, Link]:
    links: dict[LinkName, Link] = {}
    for number, site in enumerate(SITES):
        table = top.table(site)
        found = table.values or {"eth": {}}  # a site needs nothing but a network
        if len(found) > MAX_LINKS:
            raise table.fail(f"{site} has {len(found)} links; {MAX_LINKS} are the most")
        for index, name in enumerate(found):
            if not (name.isascii() and name.isalpha() and name.islower() and len(name) <= 8):
                raise table.fail(f"a link is called with 1 to 8 small letters, not {shown(name)}", name)
            values = _fields(
                Table(top.source, top.text, (*table.path, name), {}) if not table.values else table.table(name),
                _INITIAL,
            )
            default = Link(addresses=(f"192.168.{10 * (number + 1) + index}.10",), metric=100 * (index + 1))
            links[LinkName(site, name)] = dataclasses.replace(default, **values)
    _check_metrics(top, links)
    return links


def _steps(top: Table, links: Mapping[LinkName, Link], seconds: float) -> tuple[Step, ...]:
    drafts: list[tuple[float, int, Table, tuple[Action, ...]]] = []
    for order, table in enumerate(top.tables("step")):
        for key in table.values:
            if key == "nat":
                raise table.fail(_NAT_STAYS, key)
            if key in (*_CHANGEABLE, "mapping"):
                raise table.fail(f"say whose {key} it is, as in {next(iter(links))}.{key}", key)
        table.knows(("at", "every", "times", "text", "measure", "process", "clock", *SITES))
        actions = _actions(table, links)
        at = table.seconds("at", None, 0, seconds)
        times = table.whole("times", 1, 1, MAX_STEPS)
        every = table.seconds("every", 0.0 if times == 1 else None, 0, seconds)
        if at + every * (times - 1) > seconds:
            raise table.fail(f"it happens at {at + every * (times - 1):g} s, after the end at {seconds:g} s", "at")
        drafts.extend((at + every * index, order, table, actions) for index in range(times))
        if len(drafts) > MAX_STEPS:
            raise table.fail(f"a scenario has at most {MAX_STEPS} steps, repetitions counted")
    drafts.sort(key=lambda draft: draft[:2])
    state, steps = dict(links), []
    owners: dict[str, LinkName] = {}
    _check_networks(top, links, owners)
    for at, _, table, actions in drafts:
        text = table.string("text", describe(actions, state))
        steps.append(Step(at, actions, text, table.boolean("measure", can_interrupt(actions))))
        for action in actions:
            if isinstance(action, LinkChange):
                state[action.link] = action.applied(state[action.link])
                _check_networks(table, {action.link: state[action.link]}, owners)
        _check_metrics(table, state)
    return tuple(steps)


def _actions(table: Table, links: Mapping[LinkName, Link]) -> tuple[Action, ...]:
    actions: list[Action] = []
    for site in SITES:
        place = table.table(site)
        for key in place.values:
            name, known = LinkName(site, key), [link.name for link in links if link.site == site]
            if name not in links:
                raise place.fail(f"{site} has no link {shown(key)}; {nearest(key, known)}", key)
            actions += _link_actions(name, place.table(key), links[name])
    processes = table.table("process")
    processes.knows(PROCESSES)
    for process in processes.values:
        actions.append(ProcessDeed(process, Deed(processes.choice(process, None, list(Deed)))))
    clocks = table.table("clock")
    clocks.knows(SITES)
    actions += [ClockJump(process, clocks.seconds(process, None, 0.001, 86400)) for process in clocks.values]
    if not actions:
        raise table.fail("this step changes nothing; write such as client.eth.up = false")
    return tuple(actions)


def _link_actions(name: LinkName, table: Table, link: Link) -> list[Action]:
    actions: list[Action] = []
    if "nat" in table.values:
        raise table.fail(_NAT_STAYS, "nat")
    if "mapping" in table.values:
        table.choice("mapping", None, ("lost",))
        if link.nat is Nat.NONE:
            raise table.fail(
                f"{name} has no NAT whose mappings could be lost; give it one: nat = 'symmetric'", "mapping"
            )
        actions.append(MappingLost(name))
    values = _fields(table, (*_CHANGEABLE, "mapping"))
    if values:
        actions.insert(0, LinkChange(name, values))
    return actions


def _fields(table: Table, known: tuple[str, ...]) -> dict[str, Any]:
    table.knows(known)
    return {key: _READERS[key](table, key) for key in table.values if key in _READERS}


_READERS: Mapping[str, Callable[[Table, str], Any]] = {
    "addresses": Table.addresses,
    "up": lambda table, key: table.boolean(key, default=True),
    "plugged": lambda table, key: table.boolean(key, default=True),
    "metric": lambda table, key: table.whole(key, None, 0, 1_000_000),
    "delay": lambda table, key: table.seconds(key, None, 0, 10),
    "jitter": lambda table, key: table.seconds(key, None, 0, 10),
    "loss": lambda table, key: table.number(key, None, 0, 1),
    "rate": lambda table, key: table.number(key, None, 0, 1e9) or None,
    "cut": lambda table, key: Cut(table.choice(key, None, list(Cut))),
    "nat": lambda table, key: Nat(table.choice(key, None, list(Nat))),
}

_CHANGEABLE = ("up", "plugged", "addresses", "metric", "delay", "jitter", "loss", "rate", "cut")
_INITIAL = (*_CHANGEABLE, "nat")
_NAT_STAYS = "nat cannot change during a run; set it for the link, outside the steps"


def _settings(table: Table) -> tuple[dict[str, object], str]:
    if not table.values:
        return {}, ""
    reason = table.string("reason", None)
    settings: dict[str, object] = {}
    for key in table.values:
        if key == "reason":
            continue
        inner = table.table(key)
        for name, value in inner.values.items():
            given = {f"{key}.{name}": tuple(value) if isinstance(value, list) else value}
            try:
                settings |= Layer("perdure", given).values
            except ValueError as error:
                raise inner.fail(str(error), name) from error
    return settings, reason


def _traffic(table: Table) -> Traffic:
    table.knows(("connections", "rate"))
    default = Traffic()
    return Traffic(
        table.whole("connections", default.connections, 1, 64), table.number("rate", default.rate, 1000, 100e6)
    )


def _expectation(table: Table) -> Expectation:
    table.knows((*_SILENCES, "max_restarts", "states"))
    silences = {key: table.seconds(key, None, SHORTEST_LIMIT, MAX_SECONDS) for key in _SILENCES if key in table.values}
    most = table.whole("max_restarts", None, 0, 1000) if "max_restarts" in table.values else None
    states = table.values.get("states", [])
    if not isinstance(states, list) or any(state not in STATES for state in states):
        raise table.fail(f"states is {shown(states)}, not a list of {', '.join(STATES)}", "states")
    return Expectation(max_restarts=most, states=tuple(states), **silences)


def _check_limits(table: Table, scenario: Scenario) -> None:
    """Whether there is a silence that could exceed them, in the short form too."""
    for key in _SILENCES:
        if key in table.values and not any(step.measured for step in scenario.shortened().steps):
            where = "" if scenario.short_seconds is None else f" before short_seconds, {scenario.short_seconds:g} s"
            raise table.fail(f"{key} holds for measured steps, and there is none{where}; write measure = true", key)


def _check_metrics(latest: Table, links: Mapping[LinkName, Link]) -> None:
    """No two links of a site have the same: the kernel keeps one default route of each. `latest` is what set them."""
    for one, other in combinations(links, 2):
        metric = links[one].metric
        if one.site == other.site and metric == links[other].metric:
            is_others = "metric" in latest.table(other.site).table(other.name).values
            name, owner = (other, one) if is_others else (one, other)
            reason = f"{name} has the metric {metric}, which is {owner}'s; each link of a site has its own"
            raise latest.fail(reason, name.site, name.name, "metric")


def _check_networks(latest: Table, links: Mapping[LinkName, Link], owners: dict[str, LinkName]) -> None:
    """No network ever belongs to two links: the internet would not know where to send. `latest` is what set `links`;
    their networks join the `owners`.
    """
    for name, link in links.items():
        for address in link.addresses:
            network = str(network_of(address))
            if owners.setdefault(network, name) != name:
                reason = f"{address} of {name} is in {network}, which is {owners[network]}'s; each link has its own"
                raise latest.fail(reason, name.site, name.name, "addresses")


def network_of(address: str) -> str:
    """The network of an address: /24 or /64."""
    return str(ip_network(f"{address}/{64 if ':' in address else 24}", strict=False))
