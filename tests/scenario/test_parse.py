"""A scenario's file: what it may say, and how each mistake is told with its line."""

from __future__ import annotations

import pytest

from perdure.tomlfile import TomlError
from perdure_lab.scenario.model import (
    ClockJump,
    Cut,
    LinkChange,
    LinkName,
    MappingLost,
    Nat,
    ProcessAction,
    ProcessChange,
    Scenario,
)
from perdure_lab.scenario.parse import parse_scenario

TWO_BRACKETS = "write [[step]], with two brackets, each time"
HEAD = 'title = "A title"\ntext = "What happens."\nseconds = 10\n'


def parse(body: str, head: str = HEAD) -> Scenario:
    return parse_scenario(head + body, source="own.toml", name="own")


def complaint(body: str, head: str = HEAD) -> str:
    with pytest.raises(TomlError) as caught:
        parse(body, head)
    return str(caught.value)


def test_a_scenario_needs_no_more_than_a_title_a_text_and_its_length() -> None:
    scenario = parse("")
    assert (scenario.title, scenario.text, scenario.seconds) == ("A title", "What happens.", 10.0)
    assert [str(name) for name in scenario.links] == ["client.eth", "gateway.eth"]
    assert all(link.up and link.plugged and link.addresses for link in scenario.links.values())
    assert scenario.steps == ()


def test_links_have_addresses_of_their_own_and_are_preferred_in_their_order() -> None:
    links = parse("[client.eth]\n[client.wlan]\n[gateway.eth]\n").links
    assert len({address for link in links.values() for address in link.addresses}) == 3
    assert links[LinkName("client", "eth")].metric < links[LinkName("client", "wlan")].metric


def test_two_links_may_change_their_metrics_for_each_others_in_one_step() -> None:
    body = "[client.eth]\n[client.wlan]\n[[step]]\nat = 1\nclient.eth.metric = 200\nclient.wlan.metric = 100\n"
    assert len(parse(body).steps) == 1


def test_durations_are_seconds_or_texts_with_a_unit() -> None:
    links = parse('[client.eth]\ndelay = "25ms"\njitter = 0.002\nloss = 0.1\nrate = 1e6\nnat = "symmetric"\n').links
    link = links[LinkName("client", "eth")]
    assert (link.delay, link.jitter, link.loss, link.rate, link.nat) == (0.025, 0.002, 0.1, 1e6, Nat.SYMMETRIC)


def test_a_repeated_step_stands_as_often_as_it_happens_and_steps_are_in_their_order() -> None:
    body = (
        "[[step]]\nat = 2\nevery = 3\ntimes = 3\nclient.eth.up = false\n"
        "[[step]]\nat = 3\nevery = 3\ntimes = 2\nclient.eth.up = true\n"
    )
    assert [step.at for step in parse(body).steps] == [2, 3, 5, 6, 8]


def test_what_can_interrupt_is_measured_unless_the_file_says_otherwise() -> None:
    body = (
        "[[step]]\nat = 1\nclient.eth.up = false\n"
        "[[step]]\nat = 2\nclient.eth.up = true\n"
        "[[step]]\nat = 3\nclient.eth.plugged = false\nmeasure = false\n"
        "[[step]]\nat = 4\nclient.eth.plugged = true\nmeasure = true\n"
        "[[step]]\nat = 5\nclient.eth.delay = 0.1\n"
    )
    assert [step.measured for step in parse(body).steps] == [True, False, False, True, False]


def test_every_kind_of_action_is_read_and_told_in_words() -> None:
    body = (
        '[client.eth]\nnat = "endpoint-independent"\n'
        '[[step]]\nat = 1\nclient.eth = { addresses = ["10.0.0.5"], cut = "peers" }\ngateway.eth.metric = 7\n'
        '[[step]]\nat = 2\nclient.eth.mapping = "lost"\n'
        '[[step]]\nat = 3\nprocess.rendezvous = "kill"\nclock.client = "2min"\n'
    )
    first, second, third = parse(body).steps
    assert first.actions == (
        LinkChange(LinkName("client", "eth"), {"addresses": ("10.0.0.5",), "cut": Cut.PEERS}),
        LinkChange(LinkName("gateway", "eth"), {"metric": 7}),
    )
    assert (
        first.text == "client eth: address 10.0.0.5, every packet between the peers is swallowed; gateway eth: metric 7"
    )
    assert second.actions == (MappingLost(LinkName("client", "eth")),)
    assert third.actions == (ProcessChange("rendezvous", ProcessAction.KILL), ClockJump("client", 120.0))


def test_settings_are_perdures_own_and_have_a_reason() -> None:
    scenario = parse('[settings]\nreason = "faster"\nrestart.restart_backoff_base = 0.5\n')
    assert scenario.settings == {"restart.restart_backoff_base": 0.5}
    assert scenario.settings_reason == "faster"
    assert "own.toml:4: reason is missing" in complaint("[settings]\nrestart.restart_backoff_base = 0.5\n")


def test_the_short_form_ends_earlier_and_leaves_out_what_happens_later() -> None:
    body = "[[step]]\nat = 2\nevery = 3\ntimes = 3\nclient.eth.up = false\n"
    scenario = parse("short_seconds = 5\n" + body)
    assert [step.at for step in scenario.shortened().steps] == [2]
    assert scenario.shortened().seconds == 5
    assert parse(body).shortened() == parse(body)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("secnods = 3\n", "own.toml:4: there is no 'secnods' here; did you mean seconds?"),
        ("[client.eth]\nup = 1\n", "own.toml:5: up is 1, not true or false"),
        ('[client.eth]\ndelay = "25 parsecs"\n', "own.toml:5: delay is '25 parsecs'"),
        (
            "[client.eth]\ndelay = 25\n",
            "own.toml:5: delay is 25, not a number from 0 to 10 s, or a text such as '25ms'",
        ),
        ("[client.eth]\n\n# loss\nloss = 2\n", "own.toml:7: loss is 2, not a number from 0 to 1"),
        ('[client.eth]\naddresses = ["10.0.0.5/24"]\n', "own.toml:5: '10.0.0.5/24' is no address"),
        ('[client.eth]\naddresses = ["10.0.0.1"]\n', "own.toml:5: 10.0.0.1 is the network's own address"),
        ('[client.eth]\naddresses = ["2001:db8::1"]\n', "own.toml:5: 2001:db8::1 is the network's own address"),
        ('[client.eth]\naddresses = ["fe80::5"]\n', "own.toml:5: fe80::5 is not an address for a machine"),
        (
            '[client.eth]\naddresses = ["203.0.113.20"]\n',
            "own.toml:5: 203.0.113.20 is in 203.0.113.0/24, which is the internet's between the sites",
        ),
        (
            "[client.eth]\n[[step]]\nat = 1\nclient.eth.addresses = ['192.168.10.10', 'fd64:3::7']\n",
            "own.toml:7: fd64:3::7 is in fd64::/16",
        ),
        ("[client.eth0]\n", "own.toml:4: a link is called with 1 to 8 small letters"),
        ("[client]\neth = 3\n", "own.toml:5: eth is 3, not a table"),
        ("client = 3\n", "own.toml:4: client is 3, not a table"),
        ("[[step]]\nat = 1\nclient.eht.up = false\n", "own.toml:6: client has no link 'eht'; did you mean eth?"),
        ("[[step]]\nat = 1\n", "own.toml:4: this step changes nothing"),
        ("short_seconds = 11\n", "own.toml:4: short_seconds is 11, more than seconds, 10"),
        ("[settings]\nreason = 'x'\nserve.allow = []\n", "own.toml:6: there is no 'serve' here"),
        ("[[step]]\nclient.eth.up = false\n", "own.toml:4: at is missing"),
        ("[[step]]\nat = 11\nclient.eth.up = false\n", "own.toml:5: it happens at 11 s, after the end at 10 s"),
        (
            "[[step]]\nat = 1\nclient.eth.nat = 'none'\n",
            "own.toml:6: nat cannot change during a run; set it for the link",
        ),
        ("[[step]]\nat = 1\nnat = 'none'\n", "own.toml:6: nat cannot change during a run"),
        (
            "[client.wlan]\n[[step]]\nat = 1\ndelay = 0.1\n",
            "own.toml:7: say whose delay it is, as in client.wlan.delay",
        ),
        ("[[step]]\nat = 1\nmapping = 'lost'\n", "own.toml:6: say whose mapping it is, as in client.eth.mapping"),
        ("[[step]]\nat = 1\nclient.eth.mapping = 'lost'\n", "own.toml:6: client.eth has no NAT"),
        ("[[step]]\nat = 1\ntimes = 3\nclient.eth.up = false\n", "own.toml:4: every is missing"),
        (
            "[[step]]\nat = 9\ntimes = 3\nevery = 1\nclient.eth.up = false\n",
            "it happens at 11 s, after the end at 10 s",
        ),
        (
            "[[step]]\nat = 1\nprocess.client = 'sleep'\n",
            "own.toml:6: client is 'sleep', not one of stop",
        ),
        ("[[step]]\nat = 1\nprocess.clinet = 'stop'\n", "own.toml:6: there is no 'clinet' here; did you mean client?"),
        ("[[step]]\nat=1\nclient.eth.up=false\n[[step]]\nat=2\nclient.eth.up=3\n", "own.toml:9: up is 3"),
        (
            "[settings]\nreason = 'x'\nrestart.atempt_timeout = 3\n",
            "own.toml:6: there is no 'atempt_timeout' here",
        ),
        ("[expect]\nstates = ['asleep']\n", "own.toml:5: states[0] is 'asleep', not one of connected, degraded"),
        (
            "[expect]\nsilence_worst = '49ms'\n",
            "own.toml:5: silence_worst is 0.049, not a number from 0.05 to 3600 s, or a text such as '25ms'",
        ),
        ("[expect]\nafter_p50 = 0\n", "own.toml:5: after_p50 is 0, not a number from 0.05 to 3600 s"),
        (
            "[[step]]\nat = 1\nclient.eth.delay = 0.1\n[expect]\nstates = []\nsilence_worst = '1s'\n",
            "own.toml:9: silence_worst holds for measured steps, and there is none; write measure = true",
        ),
        (
            "short_seconds = 5\n[[step]]\nat = 5\nclient.eth.up = false\n[expect]\nafter_p50 = '1s'\n",
            "own.toml:9: after_p50 holds for measured steps, and there is none before short_seconds, 5 s",
        ),
        ("[traffic]\nconnections = 1.5\n", "own.toml:5: connections is 1.5, not a whole number"),
        ('[gateway.eth]\naddresses = ["192.168.10.77"]\n', "192.168.10.0/24, which is client.eth's"),
        (
            "[client.eth]\n[gateway.eth]\n[[step]]\nat = 2\nclient.eth.up = false\n"
            "[[step]]\nat = 1\nclient.eth.up = true\ngateway.eth.addresses = ['192.168.10.77']\n",
            "own.toml:12: 192.168.10.77 of gateway.eth is in 192.168.10.0/24, which is client.eth's",
        ),
        (
            "[client.eth]\nmetric = 200\n[client.wlan]\n",
            "own.toml:5: client.eth has the metric 200, which is client.wlan's; each link of a site has its own",
        ),
        (
            "[client.eth]\n[client.wlan]\nmetric = 100\n",
            "own.toml:6: client.wlan has the metric 100, which is client.eth's",
        ),
        (
            "[client.eth]\n[client.wlan]\n[[step]]\nat = 2\nclient.eth.metric = 7\n"
            "[[step]]\nat = 3\nclient.wlan.metric = 7\n[[step]]\nat = 1\nclient.eth.metric = 200\n",
            "own.toml:14: client.eth has the metric 200, which is client.wlan's",
        ),
        ("[step]\nat = 1\n", "own.toml:4: step is not a list of tables; write [[step]], with two brackets"),
        *(
            (f"{one}\nat = 1\n{other}\nat = 2\n", f"own.toml:6: step is a list of tables; {TWO_BRACKETS}")
            for one, other in [("[step]", "[step]"), ("[[step]]", "[step]"), ("[step]", "[[step]]")]
        ),
        ("[client.eth]\n[client.eth]\n", "own.toml:5: Cannot declare client.eth twice"),
        ("[client]\n[client]\n", "own.toml:5: Cannot declare client twice"),
        ("[[step]] at = 1\n", "own.toml:4: Expected newline or end of document"),
        ('x = "a\ny = "b"\n', "own.toml:4: a text is not closed"),
        ("x = 'a\ny = 'b'\n", "own.toml:4: a text is not closed"),
        ("x = 'a\ny = 3\n", "own.toml:4: a text is not closed"),
        ("x = '''a\nit's\n", "own.toml:4: a text is not closed"),
        ('x = """a\ny = 3\n', "a text is not closed before the file ends"),
        ("x = \n", "own.toml:4: Invalid value"),
        ("[[step]]\nat = 1\nclient.eth.up = false\nclient.eth = 3\n", "own.toml:7: Cannot overwrite a value"),
        ("[client.eth\n", "own.toml:4:"),
    ],
)
def test_a_mistake_is_told_with_its_file_line_and_reason(body: str, expected: str) -> None:
    assert expected in complaint(body)


def test_what_is_missing_at_the_head_is_named() -> None:
    assert complaint("", head='title = "x"\nseconds = 3\n') == "own.toml:1: text is missing"
    assert complaint("", head="") == "own.toml:1: title is missing"


@pytest.mark.parametrize(
    "text",
    [
        "x = " + "[" * 5000,
        ".".join("a" * 32_000) + " = 1",
        "seconds = " + "9" * 5000,
        "seconds = " + "9" * 400,
        "seconds = -" + "9" * 400,
        "seconds = 0x" + "f" * 5000,
        "relay = [0x" + "f" * 5000 + "]\nseconds = 9\ntitle = 'x'\ntext = 'x'",
        "#" * 70_000,
    ],
)
def test_hostile_texts_are_refused_too(text: str) -> None:
    assert complaint("", head=text).startswith("own.toml:1: ")


def test_a_step_cannot_be_repeated_without_end() -> None:
    assert "at most 1000 steps" in complaint(
        "[[step]]\nat = 0\nevery = 0.001\ntimes = 1000\nclient.eth.up = false\n"
        "[[step]]\nat = 0\nevery = 0.001\ntimes = 1000\nclient.eth.up = true\n"
    )
