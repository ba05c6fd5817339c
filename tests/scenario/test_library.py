"""The scenarios that come with perdure."""

from __future__ import annotations

import pytest

from perdure_lab.scenario.library import load, names, text_of

SHORT_FORM_SECONDS = 200.0
"""Of the six together, so that they fit into 5 minutes with everything around them."""


@pytest.mark.parametrize("name", names())
def test_each_is_short_says_what_it_is_and_measures_something(name: str) -> None:
    scenario = load(name)
    assert len(text_of(name).splitlines()) <= 45
    assert scenario.text.endswith(".")
    assert any(step.measured for step in scenario.steps)
    assert bool(scenario.settings) == bool(scenario.settings_reason)


def test_the_short_form_has_the_six_scenarios_of_the_seed_and_fits_into_its_time() -> None:
    short = {name: load(name).shortened() for name in names() if load(name).short_seconds is not None}
    assert sorted(short) == [
        "black-hole",
        "ethernet-to-wifi",
        "intermittent",
        "mobile-hand-off",
        "quality-degradation",
        "rapid-changes",
    ]
    assert sum(scenario.seconds for scenario in short.values()) <= SHORT_FORM_SECONDS


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(KeyError):
        load("../../etc/passwd")
