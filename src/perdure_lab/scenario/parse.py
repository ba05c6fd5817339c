"""A scenario out of its TOML text. `docs/lab.md` says what may stand in it; every mistake has its file and line."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from itertools import combinations
from typing import Annotated, Any, Literal, TypeAlias

from msgspec import Meta

from perdure import tomlfile
from perdure.configfile import TABLES
from perdure.fields import nearest, number, settings_of, shown
from perdure_lab.scenario.describe import can_interrupt, describe
from perdure_lab.scenario.expectation import MAX_SECONDS, Expectation
from perdure_lab.scenario.model import (
    INTERNET_NETWORKS,
    SITES,
    Action,
    ClockJump,
    Link,
    LinkChange,
    LinkName,
    MappingLost,
    Nat,
    ProcessAction,
    ProcessChange,
    Scenario,
    Step,
    Traffic,
)
from perdure_lab.scenario.reading import Table

MAX_STEPS = 1000
MAX_LINKS = 8
"""Of a site; each has an interface and a router of its own."""

_SETTINGS = ("restart", "session", "resources")
"""Tables of perdure's settings that a scenario may change."""

_SILENCES = ("silence_p50", "silence_worst", "after_p50", "after_worst")

_NAT_STAYS = "nat cannot change during a run; set it for the link, outside the steps"

_Text: TypeAlias = Annotated[str, Meta(pattern=r"\S")]
_Length: TypeAlias = Annotated[float, number("s", 1, MAX_SECONDS)]
_Jump: TypeAlias = Annotated[float, number("s", 0.001, 86400)]


@dataclass(frozen=True, slots=True)
class _Head:
    """What stands outside all tables."""

    title: _Text
    text: _Text
    seconds: _Length
    short_seconds: _Length | None = None
    relay: bool = False
    policy_routes: bool = True
    late_running: bool = False
    busy: bool = False


@dataclass(frozen=True, slots=True)
class _Reason:
    """Why settings are others than perdure's own."""

    reason: _Text


@dataclass(frozen=True, slots=True)
class _Step:
    at: Annotated[float, number("s", 0, MAX_SECONDS)]
    every: Annotated[float, number("s", 0, MAX_SECONDS)] = 0.0
    times: Annotated[int, number("", 1, MAX_STEPS)] = 1
    text: str = ""
    measure: bool | None = None


@dataclass(frozen=True, slots=True)
class _LinkStep(Link):
    mapping: Literal["lost"] | None = None


@dataclass(frozen=True, slots=True)
class _Processes:
    client: ProcessAction | None = None
    gateway: ProcessAction | None = None
    rendezvous: ProcessAction | None = None


@dataclass(frozen=True, slots=True)
class _Clocks:
    client: _Jump | None = None
    gateway: _Jump | None = None


def parse_scenario(text: str, *, source: str, name: str) -> Scenario:
    """The scenario `name` in `text`; `source` is what errors call the file.

    Raises:
        TomlError: with file, line and reason.
    """
    top = Table(source, text, (), tomlfile.parse(text, source, lists=("step",)))
    head = _Head(**top.read(_Head, *SITES, "settings", "traffic", "step", "expect"))
    if head.short_seconds is not None and head.short_seconds > head.seconds:
        raise top.fail(f"short_seconds is {head.short_seconds:g}, more than seconds, {head.seconds:g}", "short_seconds")
    links = _links(top)
    settings, reason = _settings(top.table("settings"))
    scenario = Scenario(
        name=name,
        title=_one_line(head.title),
        text=_one_line(head.text),
        seconds=head.seconds,
        links=links,
        steps=_steps(top, links, head.seconds),
        short_seconds=head.short_seconds,
        relay=head.relay,
        policy_routes=head.policy_routes,
        late_running=head.late_running,
        busy=head.busy,
        settings=settings,
        settings_reason=reason,
        traffic=Traffic(**top.table("traffic").read(Traffic)),
        expectation=Expectation(**top.table("expect").read(Expectation)),
    )
    _check_limits(top.table("expect"), scenario)
    return scenario


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _links(top: Table) -> dict[LinkName, Link]:
    links: dict[LinkName, Link] = {}
    for number_of_site, site in enumerate(SITES, 1):
        table = top.table(site)
        found = table.values or {"eth": {}}  # a site needs nothing but a network
        if len(found) > MAX_LINKS:
            raise table.fail(f"{site} has {len(found)} links; {MAX_LINKS} are the most")
        for index, name in enumerate(found):
            if not (name.isascii() and name.isalpha() and name.islower() and len(name) <= 8):
                raise table.fail(f"a link is called with 1 to 8 small letters, not {shown(name)}", name)
            default = Link(addresses=(f"192.168.{10 * number_of_site + index}.10",), metric=100 * (index + 1))
            links[LinkName(site, name)] = dataclasses.replace(default, **_link(table.table(name), Link))
    _check_metrics(top, links)
    return links


def _steps(top: Table, links: Mapping[LinkName, Link], seconds: float) -> tuple[Step, ...]:
    drafts: list[tuple[float, int, Table, _Step, tuple[Action, ...]]] = []
    for order, table in enumerate(top.tables("step")):
        for key in table.values.keys() & settings_of(_LinkStep).keys():
            whose = f"say whose {key} it is, as in {next(iter(links))}.{key}"
            raise table.fail(_NAT_STAYS if key == "nat" else whose, key)
        step = _Step(**table.read(_Step, *SITES, "process", "clock"))
        actions = _actions(table, links)
        at, every, times = step.at, step.every, step.times
        if times > 1 and "every" not in table.values:
            raise table.fail("every is missing", "every")
        if at + every * (times - 1) > seconds:
            raise table.fail(f"it happens at {at + every * (times - 1):g} s, after the end at {seconds:g} s", "at")
        drafts.extend((at + every * index, order, table, step, actions) for index in range(times))
        if len(drafts) > MAX_STEPS:
            raise table.fail(f"a scenario has at most {MAX_STEPS} steps, repetitions counted")
    drafts.sort(key=lambda draft: draft[:2])
    state, steps = dict(links), []
    owners: dict[str, LinkName] = {}
    _check_networks(top, links, owners)
    for at, _, table, step, actions in drafts:
        measured = can_interrupt(actions) if step.measure is None else step.measure
        steps.append(Step(at, actions, _one_line(step.text) or describe(actions, state), measured))
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
    actions += [ProcessChange(*each) for each in table.table("process").read(_Processes).items()]
    actions += [ClockJump(*each) for each in table.table("clock").read(_Clocks).items()]
    if not actions:
        raise table.fail("this step changes nothing; write such as client.eth.up = false")
    return tuple(actions)


def _link_actions(name: LinkName, table: Table, link: Link) -> list[Action]:
    if "nat" in table.values:
        raise table.fail(_NAT_STAYS, "nat")
    values = _link(table, _LinkStep)
    is_lost = values.pop("mapping", None) is not None
    if is_lost and link.nat is Nat.NONE:
        raise table.fail(f"{name} has no NAT whose mappings could be lost; give it one: nat = 'symmetric'", "mapping")
    return [*([LinkChange(name, values)] if values else []), *([MappingLost(name)] if is_lost else [])]


def _link(table: Table, kind: type[Link]) -> dict[str, Any]:
    """The fields of `kind` that stand in the table."""
    values = table.read(kind)
    if "addresses" in values:
        values["addresses"] = tuple(_address(table, each) for each in values["addresses"])
    if values.get("rate") == 0:
        values["rate"] = None
    return values


def _address(table: Table, text: str) -> str:
    try:
        address = ip_address(text)
    except ValueError:
        reason = f"{shown(text)} is no address; write one such as '192.168.1.10', no prefix"
        raise table.fail(reason, "addresses") from None
    host, own = (int(address) & 0xFF, (0, 1, 255)) if address.version == 4 else (int(address) & (2**64 - 1), (0, 1))
    if address.is_loopback or address.is_link_local or address.is_multicast or address.is_unspecified:
        raise table.fail(f"{text} is not an address for a machine in a network", "addresses")
    if host in own:
        raise table.fail(f"{text} is the network's own address, its router's or its broadcast's", "addresses")
    for network in INTERNET_NETWORKS:
        if address in ip_network(network):
            raise table.fail(f"{text} is in {network}, which is the internet's between the sites", "addresses")
    return str(address)


def _settings(table: Table) -> tuple[dict[str, object], str]:
    """By full name, and why."""
    if not table.values:
        return {}, ""
    reason = _one_line(table.read(_Reason, *_SETTINGS)["reason"])
    tables = {key: table.table(key).read(TABLES[key]) for key in _SETTINGS}
    return {f"{key}.{name}": value for key, values in tables.items() for name, value in values.items()}, reason


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
