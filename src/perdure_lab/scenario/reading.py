"""Values of a scenario's TOML: each is checked against its range, and each error knows its file and line."""

from __future__ import annotations

import re
import reprlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from ipaddress import ip_address, ip_network
from typing import Any

from perdure_lab.scenario.lines import Path, line_of
from perdure_lab.scenario.model import INTERNET_NETWORKS

_UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "min": 60.0}
_QUANTITY = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*(us|ms|s|min)")


class ScenarioError(ValueError):
    """`file:line: reason`."""


@dataclass(frozen=True, slots=True)
class Table:
    """A table of the document, with the way that led to it."""

    source: str
    text: str
    path: Path
    values: Mapping[str, Any]

    def fail(self, reason: str, *keys: str | int) -> ScenarioError:
        """The error to raise about `keys` below this table."""
        return ScenarioError(f"{self.source}:{line_of(self.text, (*self.path, *keys))}: {reason}")

    def knows(self, known: Iterable[str]) -> None:
        """Raises where a key is not among the `known`; names the nearest."""
        known = tuple(known)
        for key in self.values:
            if key not in known:
                raise self.fail(f"there is no {shown(key)} here; {nearest(key, known)}", key)

    def table(self, key: str) -> Table:
        value = self.values.get(key, {})
        if not isinstance(value, dict):
            raise self.fail(f"{key} is {shown(value)}, not a table", key)
        return Table(self.source, self.text, (*self.path, key), value)

    def tables(self, key: str) -> list[Table]:
        value = self.values.get(key, [])
        if not isinstance(value, list) or not all(isinstance(each, dict) for each in value):
            raise self.fail(f"{key} is not a list of tables; write [[{key}]], with two brackets", key)
        return [Table(self.source, self.text, (*self.path, key, index), each) for index, each in enumerate(value)]

    def string(self, key: str, default: str | None = None) -> str:
        value = self.values.get(key, default)
        if not isinstance(value, str) or not value.strip():
            raise self.fail(f"{key} is missing" if value is None else f"{key} is {shown(value)}, not a text", key)
        return " ".join(value.split())

    def boolean(self, key: str, default: bool) -> bool:
        value = self.values.get(key, default)
        if not isinstance(value, bool):
            raise self.fail(f"{key} is {shown(value)}, not true or false", key)
        return value

    def number(self, key: str, default: float | None, low: float, high: float, *, unit: str = "") -> float:
        value = self.values.get(key, default)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self.fail(f"{key} is missing" if value is None else f"{key} is {shown(value)}, not a number", key)
        return self._within(key, value, low, high, shown(value), unit)

    def whole(self, key: str, default: int | None, low: int, high: int) -> int:
        value = self.number(key, default, low, high)
        if value != int(value):
            raise self.fail(f"{key} is {value:g}, not a whole number", key)
        return int(value)

    def seconds(self, key: str, default: float | None, low: float, high: float) -> float:
        """A number of seconds, or a text such as `25ms`."""
        value = self.values.get(key, default)
        if isinstance(value, str):
            match = _QUANTITY.fullmatch(value.strip())
            if match is None:
                raise self.fail(f"{key} is {shown(value)}; write seconds, or a text such as '25ms' or '2s'", key)
            return self._within(key, float(match[1]) * _UNITS[match[2]], low, high, shown(value), " seconds")
        unit = " seconds"
        if isinstance(value, int | float) and value > high and low * 1000 <= value <= high * 1000:
            unit += f"; milliseconds are written '{value}ms'"
        return self.number(key, default, low, high, unit=unit)

    def choice(self, key: str, default: str | None, known: Iterable[str]) -> str:
        value, known = self.string(key, default), tuple(known)
        if value not in known:
            raise self.fail(f"{key} is {shown(value)}; {nearest(value, known)}", key)
        return value

    def addresses(self, key: str) -> tuple[str, ...]:
        value = self.values.get(key)
        if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
            raise self.fail(f"{key} is {shown(value)}, not a list of texts", key)
        if len(value) > 8:
            raise self.fail(f"{key} has {len(value)} addresses; 8 are the most", key)
        return tuple(self._address(key, each) for each in value)

    def _address(self, key: str, text: str) -> str:
        try:
            address = ip_address(text)
        except ValueError:
            raise self.fail(f"{shown(text)} is no address; write one such as '192.168.1.10', no prefix", key) from None
        if address.is_loopback or address.is_link_local or address.is_multicast or address.is_unspecified:
            raise self.fail(f"{text} is not an address for a machine in a network", key)
        if int(address) & 0xFF in (0, 1, 255) and address.version == 4:
            raise self.fail(f"{text} is the network's own address, its router's or its broadcast's", key)
        if int(address) & (2**64 - 1) in (0, 1) and address.version == 6:
            raise self.fail(f"{text} is the network's own address or its router's", key)
        for network in INTERNET_NETWORKS:
            if address in ip_network(network):
                raise self.fail(f"{text} is in {network}, which is the internet's between the sites", key)
        return str(address)

    def _within(self, key: str, value: float, low: float, high: float, written: str, unit: str) -> float:
        if not low <= value <= high:
            raise self.fail(f"{key} is {written}; it goes from {low:g} to {high:g}{unit}", key)
        return float(value)  # of an integer too: TOML's have no bound, but this one is within


def shown(value: object) -> str:
    """Of bounded length, without control characters."""
    try:
        return reprlib.repr(value)
    except ValueError:  # Python writes no more than 4300 digits
        return "a number of very many digits"


def nearest(word: str, known: Iterable[str]) -> str:
    known = tuple(known)
    found = get_close_matches(word[:64].lower(), known, n=1, cutoff=0.5)
    return f"did you mean {found[0]}?" if found else f"there is {', '.join(known)}"
