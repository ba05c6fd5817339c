"""Signals, as types and as dicts, and the table that documents them."""

from __future__ import annotations

import dataclasses
import json
from typing import get_args

import pytest

from perdure.signals import (
    ChannelClosed,
    ConnectionStateChanged,
    IceCandidate,
    IceRestartOffer,
    Keepalive,
    NetworkChangeDetected,
    SessionTimeoutWarning,
    Signal,
    TurnCredentialsFailed,
    TurnCredentialsRefreshed,
    TurnServerFailed,
)
from support.signal_table import SIGNALS

ABOUT = ("1f3a5b7c9d0e", "ticket-4711")

ONE_OF_EACH: list[Signal] = [
    Keepalive(*ABOUT, idle_seconds=300.0, rtt=0.02),
    SessionTimeoutWarning(*ABOUT, idle_seconds=1140.0, remaining_seconds=2460.0),
    NetworkChangeDetected(
        *ABOUT,
        change="interface change",
        action="ICE restart",
        reason="the address of the path is gone",
        attempt=0,
        next_attempt_in=None,
        detail="",
    ),
    IceRestartOffer(*ABOUT, sdp="v=0\r\n", generation=3, action="rebuild"),
    IceCandidate(
        *ABOUT, candidate="candidate:1 1 udp 1 192.0.2.1 9 typ host", sdp_mid="0", sdp_mline_index=0, generation=3
    ),
    ConnectionStateChanged(
        *ABOUT, before="reconnecting", after="connected", reason="resumed", detail="", outage_seconds=0.4
    ),
    ChannelClosed(*ABOUT, reason="closed here", detail="done", state="closed"),
    TurnCredentialsRefreshed(*ABOUT, urls=("turn:turn.example:3478", "turns:turn.example:5349"), username=None),
    TurnCredentialsFailed(*ABOUT, reason="the endpoint answers 503", retry_in=4.1, expires_in=-12.0),
    TurnServerFailed(*ABOUT, url="turn:turn.example", code=486, reason="turn:turn.example has no room for this user"),
]


def own_fields(signal_type: type[Signal]) -> list[str]:
    return [field.name for field in dataclasses.fields(signal_type) if field.name not in {"tube_id", "conversation_id"}]


def test_there_is_one_of_each_in_this_file() -> None:
    assert {type(signal) for signal in ONE_OF_EACH} == set(get_args(Signal))


def test_the_kinds_are_the_agreed_ones() -> None:
    assert [signal.kind for signal in ONE_OF_EACH] == [
        "keepalive",
        "session_timeout_warning",
        "network_change_detected",
        "ice_restart_offer",
        "icecandidate",
        "connection_state_changed",
        "channel_closed",
        "turn_credentials_refreshed",
        "turn_credentials_failed",
        "turn_server_failed",
    ]


def test_a_dict_says_what_the_signal_says() -> None:
    warning = SessionTimeoutWarning("tube", None, idle_seconds=1140.0, remaining_seconds=2460.0)
    assert warning.as_dict() == {
        "tube_id": "tube",
        "kind": "session_timeout_warning",
        "data": {"idle_seconds": 1140.0, "remaining_seconds": 2460.0},
        "conversation_id": None,
    }


@pytest.mark.parametrize("signal", ONE_OF_EACH, ids=lambda signal: signal.kind)
def test_a_dict_survives_json_and_holds_the_types_own_fields(signal: Signal) -> None:
    as_dict = signal.as_dict()
    assert json.loads(json.dumps(as_dict)) == as_dict
    assert list(signal.data) == own_fields(type(signal))
    assert as_dict["data"] == signal.data


@pytest.mark.parametrize("signal", ONE_OF_EACH, ids=lambda signal: signal.kind)
def test_a_signal_cannot_be_changed(signal: Signal) -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        signal.tube_id = "other"  # type: ignore[misc]


def test_the_documentations_table_has_every_kind_with_its_fields_in_their_order() -> None:
    assert {kind for kind, *_ in SIGNALS} == set(get_args(Signal))
    for kind, _, _, fields in SIGNALS:
        assert [name for names in fields for name in names] == own_fields(kind)
