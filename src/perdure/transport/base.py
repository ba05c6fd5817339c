"""The seam between a tube and the WebRTC engine."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Sequence

    from perdure.ice_server import IceServer
    from perdure.netmon.state import Snapshot
    from perdure.turn.pool import ServerFailure


class IceState(Enum):
    """W3C's RTCIceConnectionState, as far as it is evidence for us."""

    CONNECTED = "connected"
    DISCONNECTED = "disconnected"
    FAILED = "failed"


class LossReason(Enum):
    """Why the engine gave a carrier up."""

    CHANNEL_CLOSED = "the peer closed the data channel"
    ENGINE_FAILED = "the engine failed"
    REFUSED_DESCRIPTION = "the engine refused the peer's session description"
    KILLED = "killed on request"


@dataclass(frozen=True, slots=True)
class PathStatistics:
    """What the engine counted on the path. What it does not count is `None`, and never 0."""

    rtt: float | None
    """Seconds of the last STUN check's round trip on the selected candidate pair, to the millisecond."""
    checks_sent: int | None
    """STUN checks of the selected pair; a new pair, as an ICE restart brings one, starts at 0. `None`: not known."""
    checks_answered: int | None
    """How many of them were answered; `None` likewise."""
    sent_bytes: int | None
    """DTLS records since the carrier was made, whichever pair they took; without STUN checks and IP headers. `None`:
    not known."""
    received_bytes: int | None
    """The same, received."""


@dataclass(frozen=True, slots=True)
class Path:
    """The path in use: the ICE candidate pair that the engine has selected."""

    is_relayed: bool
    """Whether a TURN server is between the two ends, ours or the peer's."""
    protocol: str
    """What carries this end's packets: `udp` or `tcp`; to a TURN server of its own also `tls`
    (W3C: `RTCIceCandidateStats.relayProtocol`)."""
    local_address: str | None
    """This end's candidate, as `192.0.2.1:50000` or `[2001:db8::1]:50000`: behind a NAT the public address, through a
    TURN server of its own the address there."""
    remote_address: str | None
    """The peer's candidate, likewise. `None`: the peer has not signaled it (a peer-reflexive candidate, as behind a
    symmetric NAT), and the engine keeps such an address to itself."""
    rtt: float | None
    """Seconds of a round trip, smoothed, the same as `ConnectionMetrics.rtt`; after a change of path some measurements
    pass until it is the new one's. Before the session has measured one, and of a `Carrier`: that of a STUN check, to
    the millisecond, when the engine's statistics were read last (W3C: `RTCIceCandidatePairStats.currentRoundTripTime`).
    `None`: neither was measured yet on this path."""
    relay_url: str | None = None
    """The TURN server where this end's candidate is, as it was configured (W3C: `RTCIceCandidateStats.url`). `None`:
    this end's candidate is its own, so that its packets need no TURN credentials of ours."""


@dataclass(frozen=True, slots=True)
class OpenChannel:
    """What a tube must know of a data channel that is open."""

    local_certificate: bytes
    remote_certificate: bytes
    """SHA-256 of each end's DTLS certificate, 32 bytes: as it was signaled and DTLS held the end to it."""
    max_message_bytes: int
    """The longest message that the peer takes (RFC 8841)."""


class CarrierListener(Protocol):
    """What a tube hears of its carriers. Called on the event loop's thread; nothing comes after `Carrier.close`."""

    def carrier_description(self, generation: int, sdp: str) -> None:
        """The local offer or answer is ready to be sent; candidates follow.

        `generation`: that of the negotiation, which an ICE restart gives anew; candidates carry it too.
        """

    def carrier_candidate(self, generation: int, candidate: str, sdp_mid: str | None, sdp_mline: int | None) -> None:
        """A local ICE candidate was gathered (trickle, RFC 8838); never before the description. Candidates may stand in
        that, too.
        """

    def carrier_opened(self, generation: int, channel: OpenChannel) -> None:
        """The data channel is open."""

    def carrier_message(self, generation: int, message: bytes) -> None:
        """A message came."""

    def carrier_writable(self, generation: int) -> None:
        """The send buffer has drained to half of what `Carrier.has_room` allows."""

    def carrier_ice_state(self, generation: int, state: IceState) -> None:
        """The engine's opinion of the path: evidence, not a verdict."""

    def carrier_measured(self, generation: int, statistics: PathStatistics) -> None:
        """What `Carrier.measure` asked for."""

    def carrier_lost(self, generation: int, reason: LossReason, detail: str) -> None:
        """The carrier will carry nothing more. At most once, and only where `close` was not called."""


class Carrier(Protocol):
    """One WebRTC peer connection with its data channel."""

    @property
    def generation(self) -> int:
        """The number that the tube gave it."""

    @property
    def can_restart(self) -> bool:
        """Whether the engine can restart ICE on it; read once, when the carrier was begun. Where it cannot, `restart`
        and `answer_restart` are never called: the core decides on a new carrier instead.
        """

    @property
    def has_room(self) -> bool:
        """Whether another message may be sent without making later ones wait long."""

    @property
    def local_address(self) -> str | None:
        """The machine's own address that it sends from, also behind a NAT or a TURN relay.

        `None`: no path was found yet, or the engine does not tell (a relay-only policy). It is the engine's choice,
        and stays for seconds after the address is gone. A look costs 0.1 ms.
        """

    def path(self) -> Path | None:
        """The path in use. `None`: none was found yet, or the engine does not tell it, or not yet, some milliseconds
        after `carrier_opened`. A look costs 0.1 ms.
        """

    def limit_buffer(self, size: int) -> None:
        """Let no more than about `size` bytes wait in the carrier; the engine's own limit still holds."""

    def apply_answer(self, sdp: str) -> None:
        """Take the peer's answer to our offer."""

    def restart(self, generation: int) -> None:
        """Restart ICE (RFC 8445 §9): the listener gets an offer with a new ufrag and password, and new candidates.

        The path in use goes on until a new one works. While it works too, an end may stay on it until a message
        reaches it on the new one (measured): let both send something once the negotiation has ended.

        Raises:
            RuntimeError: the listener has not heard `carrier_opened` yet.
        """

    def answer_restart(self, generation: int, sdp: str) -> None:
        """Take the peer's restart offer, which displaces ours if one is under way; the listener gets the answer."""

    def measure(self) -> None:
        """Read the engine's statistics: `carrier_measured` follows, unless the carrier ends before."""

    def add_candidate(self, candidate: str, sdp_mid: str | None, sdp_mline: int | None) -> None:
        """Take a candidate of the peer; one that the engine cannot read is dropped."""

    def send(self, message: bytes) -> None:
        """Queue one message. On a carrier that is not open the message is dropped (the session keeps it)."""

    def kill(self) -> None:
        """Tear the peer connection down as a crash would: the tube hears `carrier_lost`. For tests and the demo."""

    def close(self) -> Awaitable[None] | None:
        """Close, and let go of every engine object. Twice is fine.

        What takes time may be returned: the tube awaits it, while the next carrier begins, for
        `tube.carrier_set.CLOSE_TIMEOUT` seconds at most. What it raises is logged. `wait_ended` and the like
        return when it is done.
        """


class TurnServersListener(Protocol):
    """What is heard of TURN servers. Called on the event loop's thread."""

    def turn_server_failed(self, failure: ServerFailure) -> None:
        """A server does not serve, and may have been told before: see `failure.is_news`."""

    def turn_servers_revived(self) -> None:
        """No server served what seeks a path, and one that refused may take the credentials that are in use now."""

    def turn_credentials_awaited(self) -> Awaitable[None] | None:
        """A carrier, or an ICE restart, is about to ask TURN servers. It waits for what this returns first."""


class KnowsTurnServers(Protocol):
    """What a `Transport` may have besides: it knows which TURN servers serve it."""

    def tell_of_turn_servers(self, listener: TurnServersListener) -> None:
        """Tell `listener` from now on."""

    def turn_failures(self) -> Sequence[ServerFailure]:
        """Of the servers that did not serve when they were asked last."""


@runtime_checkable
class StandbyTransport(Protocol):
    """What a `Transport` may have besides: carriers that keep off the link which another one uses."""

    def count_uplinks(self, network: Snapshot | None) -> int:
        """Among how many of this machine's links a carrier can choose, as `network` is (`None`: as it is now, which
        takes 0.3 ms to see); 1 where it cannot."""

    def offer_apart(self, generation: int, listener: CarrierListener, address: str) -> Carrier:
        """As `Transport.offer`, of a carrier that this end has nothing sent for by the link of the local `address`.

        Raises:
            CarrierError: as `offer`; or there is no such link, or no other.
        """

    def are_apart(self, one: str, other: str) -> bool:
        """Whether two local addresses are of different links."""

    def use_all_links(self, carrier: Carrier) -> None:
        """Such a carrier is like any other from its next ICE restart on."""


class Transport(Protocol):
    """Makes carriers. It may be a `KnowsTurnServers` or a `StandbyTransport` too."""

    def offer(self, generation: int, listener: CarrierListener) -> Carrier:
        """Begin a carrier: `listener.carrier_description` gets the offer.

        Raises:
            CarrierError: the engine refuses (a bad ICE server URL, no memory, …). Where the carrier has to wait after
                `renew`, `carrier_lost` tells it.
        """

    def answer(self, generation: int, sdp: str, listener: CarrierListener) -> Carrier:
        """Begin a carrier from the peer's offer: `listener.carrier_description` gets the answer.

        Raises:
            CarrierError: as `offer`. An offer that the engine cannot read is reported by `carrier_lost`.
        """

    def set_ice_servers(self, servers: Sequence[IceServer]) -> None:
        """Use `servers`, with their new credentials, for carriers and ICE restarts from now on.

        At a client, those that its gateway named are among them. perdure's own transport is given none at this
        machine's loopback or a link-local address unless `TransportConfig.loopback` is set; another one is given all,
        and judges them itself, as it does the peer's candidates.

        Raises:
            CarrierError: the engine refuses them for a carrier that there is; the ones in use stay.
        """

    def renew(self) -> None:
        """The machine's networks have just changed: carriers begun from now on see them as they are.

        The engine lists the networks once for all carriers of a process, looks again every 2 s, and forgets the list
        with the last of them. So close those that the change has hit, at the latest when the first of them is replaced:
        in the 2 s after a change a new carrier waits until every earlier one is closed, which takes milliseconds. Where
        some stay open it waits 50 ms; it then begins with the networks that the engine knows, and adds what is new when
        the engine looks again, without another offer.
        """
