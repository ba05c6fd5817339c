"""The kinds of signals, as docs/signals.md shows them."""

from __future__ import annotations

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

Row = tuple[type[Signal], str, str, dict[tuple[str, ...], str]]
"""Type, purpose, when it is told, and what its fields hold; several with one text stand together."""

SIGNALS: list[Row] = [
    (
        Keepalive,
        "shows that an idle tube is looked after",
        "an idle tube's peer is asked whether it is there, every `ice_keepalive_interval`",
        {
            ("idle_seconds",): "s since the peer was last heard",
            ("rtt",): "s, the last one known, or `None`",
        },
    ),
    (
        SessionTimeoutWarning,
        "a chance to use the tube, or to tell its user",
        "nobody has used the tube for long, and `session_timeout` comes nearer; in stages",
        {
            ("idle_seconds",): "s since the user's last use",
            ("remaining_seconds",): "s until it is closed",
        },
    ),
    (
        NetworkChangeDetected,
        "says what happened to the path, and what is done about it",
        "on each decision, also to do nothing",
        {
            ("change",): "what happened, the text of a `NetworkChangeType`, such as `interface change`",
            ("action",): "`hold`, `ICE restart`, `spare`, `switch`, `rebuild`, `wait` or `fail`",
            ("reason",): "why this is done, the text of a `DecisionReason`",
            ("attempt",): "which attempt in a row this is, or was, from 1; 0 where none is counted",
            ("next_attempt_in",): "s, or `None` where none is planned",
            ("detail",): "text, may be empty",
        },
    ),
    (
        IceRestartOffer,
        "an offer that the application sends to the peer",
        "a recovery or a spare begins on a tube whose signaling is the application's",
        {
            ("sdp",): "the offer, JSON for the other end",
            ("generation",): "number of the negotiation",
            ("action",): "`ICE restart`; or `rebuild`: a new carrier, a spare's too",
        },
    ),
    (
        IceCandidate,
        "a candidate that the application sends to the peer",
        "ICE has found one, on a tube whose signaling is the application's",
        {
            ("candidate",): "RFC 8839's line",
            ("sdp_mid",): "text or `None`",
            ("sdp_mline_index",): "number or `None`",
            ("generation",): "number of the negotiation, which a description carries too",
        },
    ),
    (
        ConnectionStateChanged,
        "what the tube can do now",
        "on every change of state",
        {
            (
                "before",
                "after",
            ): "`initializing`, `connecting`, `connected`, `degraded`, `reconnecting`, `failed` or `closed`",
            ("reason",): "why, the text of a `Reason` ([the set](states.md#why-it-changes))",
            ("detail",): "text, may be empty",
            ("outage_seconds",): "s since the loss where this change ends one, or `None`",
        },
    ),
    (
        ChannelClosed,
        "the tube has ended; the last signal",
        "once, after the last change of state",
        {
            ("reason",): "why, the text of a `Reason` ([the set](states.md#why-it-changes))",
            ("detail",): "text, may be empty",
            ("state",): "`closed` or `failed`",
        },
    ),
    (
        TurnCredentialsRefreshed,
        "says that new carriers and ICE restarts use new credentials",
        "a provider has issued others, `set_ice_servers` of a `Gateway` or `TubeRegistry` was called, or a client's "
        "gateway named others",
        {
            ("urls",): "list of the servers' URLs",
            ("username",): "text or `None`; never the password",
            ("expires_in",): "s, or `None` where nobody says",
        },
    ),
    (
        TurnCredentialsFailed,
        "says that the provider of TURN credentials has none",
        "each time that it was asked in vain; the old ones stay in use",
        {
            ("reason",): "why",
            ("retry_in",): "s until it is asked again",
            ("expires_in",): "s until those in use expire, below 0 where they have; `None`: there are none, or nobody "
            "says",
        },
    ),
    (
        TurnServerFailed,
        "says which TURN server does not serve this end, and why",
        "once for a server and code, until the server works again",
        {
            ("url",): "the server's",
            ("code",): "STUN's or W3C's, such as 401, 486 or 701 (out of reach); 0: it said nothing",
            ("reason",): "a sentence",
        },
    ),
]


def as_cells(row: Row) -> tuple[str, ...]:
    """The row as its table has it."""
    kind, purpose, when, fields = row
    told = "; ".join(f"{', '.join(f'`{name}`' for name in names)}: {text}" for names, text in fields.items())
    return f"`{kind.kind}`", f"`{kind.__name__}`", purpose, when, told
