"""The scenarios that come with perdure."""

from __future__ import annotations

from importlib.resources import files
from typing import TYPE_CHECKING

from perdure_lab.scenario.parse import parse_scenario

if TYPE_CHECKING:
    from perdure_lab.scenario.model import Scenario

_SUFFIX = ".toml"


def names() -> list[str]:
    """In alphabetical order."""
    found = files("perdure_lab.scenario").joinpath("scenarios").iterdir()
    return sorted(each.name.removesuffix(_SUFFIX) for each in found if each.name.endswith(_SUFFIX))


def text_of(name: str) -> str:
    """The scenario's file.

    Raises:
        KeyError: there is none of that name.
    """
    if name not in names():
        raise KeyError(name)
    return files("perdure_lab.scenario").joinpath("scenarios", name + _SUFFIX).read_text("utf-8")


def load(name: str) -> Scenario:
    """
    Raises:
        KeyError: there is none of that name.
    """
    return parse_scenario(text_of(name), source=name + _SUFFIX, name=name)
