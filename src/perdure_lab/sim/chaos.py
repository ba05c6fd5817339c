"""A history that nobody thought of: links, faults and traffic, all drawn from the seed.

Faults come alone and in clusters, so that rare ones meet: each has a beginning, and most have an end, drawn from
milliseconds to minutes. At last everything is made good, but for an uplink that another can stand in for, and after
`liveness.SETTLED_AFTER` it has to be well.
"""

from __future__ import annotations

import math
from collections import Counter
from enum import Enum
from random import Random
from typing import TYPE_CHECKING

from perdure.core.restart_limit import LIMIT_WINDOW
from perdure.roles import PATIENT_POLICY
from perdure.streams.target import Target
from perdure_lab.scenario.figures import duration
from perdure_lab.scenario.model import Cut, Link, LinkName, Nat
from perdure_lab.sim.busy_moves import BusyMoves
from perdure_lab.sim.faults import Faults, where
from perdure_lab.sim.liveness import SETTLED_AFTER, check_liveness
from perdure_lab.sim.relay import Terms
from perdure_lab.sim.simulation import Simulation

if TYPE_CHECKING:
    from perdure.manager import TunnelConnectionManager
    from perdure_lab.sim.application import Workload

CHAOS_SECONDS = 1200.0
"""Twenty minutes of trouble, of which most is calm, as in life."""

UNRULY_SHARE = 0.25
"""Of the histories, those in which the peers also say what they do not mean to. In the others a carrier that is cut for
the protocol's sake would be a bug of ours."""

BUSY_MOVES_SHARE = 0.2
"""Of the histories, those in which the carrier is replaced by plan now and then, in the midst of work."""

OLD_KERNELS_SHARE = 0.3
"""Of the histories, those whose kernels say late that a link runs, as before Linux 6.8."""

PATIENT_SHARE = 0.25
"""Of the histories, those whose ends go on trying until `abandon_after`, as `connect` and `serve` do."""

SILENT_UPLINK_SHARE = 0.5
"""Of the histories in which a machine has several uplinks, those in which one of these falls silent at last."""

STANDBY_SECONDS = 12.0
"""After which a tube whose uplink fell silent has to be up by another one. Where all goes well it takes below 1 s; this
is for an answer or an offer that is lost: before `attempt_timeout` is over, and the backoff after it."""

TALKING_BEFORE = 2.0
TALKING_INTERVAL = 0.05
"""Seconds: as a call does, or a screen that is shared."""

LAST_STREAM_SECONDS = 2.0
"""In which a stream that is opened at last is there at both ends: a round trip, and a lost packet's retransmission."""

LAST_WORDS_SECONDS = 3.0
"""In which what is said at last, on a good network, has come: some round trips, and a lost packet's retransmission."""

LAST_WORDS_BYTES = 40_000
"""Said right before a stream is reset, or the client stopped: more than leaves with one message."""

FORBIDDEN_TARGET = Target("192.0.2.1", 23)

_MEAN_SAYING = 25.0
"""Seconds between two things that the applications do."""


class Ending(Enum):
    """How a history's last tube ends."""

    STOPPED = "the client is stopped"
    UNUSED = "nobody says anything"
    GONE = "the client crashes, and is not started again"


_SHORT_PATIENCE = 90.0
"""Seconds: `session_timeout` of a history that ends unused, `abandon_after` of one whose client is gone."""

_ENDS_WITHIN = {Ending.STOPPED: 5.0, Ending.UNUSED: _SHORT_PATIENCE + 5.0, Ending.GONE: _SHORT_PATIENCE + 60.0}
"""Seconds: a CLOSE takes a round trip; ICE tells after 20 s that the other end is gone, then `abandon_after` begins."""


class Chaos:
    """One history."""

    def __init__(self, seed: int, *, seconds: float = CHAOS_SECONDS) -> None:
        self._settings = _settings(seed)
        self.simulation = Simulation(
            seed,
            _links(seed),
            relay=_relay(seed),
            settings=self._settings,
            mapping_lifetime=Random(f"{seed} mappings").choice([30.0, 120.0, 300.0]),
            says_late=Random(f"{seed} kernels").random() < OLD_KERNELS_SHARE,
        )
        self.seconds = seconds
        self._ending = _ending(seed)
        self._last_workloads: list[Workload] = []
        """Who spoke right before the client was stopped."""
        self._dice: Random = self.simulation.world.dice("chaos")
        peers = self.simulation.world.dice("when peers are unruly")
        are_unruly = peers.random() < UNRULY_SHARE
        self.faults = Faults(self.simulation, self._dice, until=seconds, unruly_peers=peers if are_unruly else None)
        moves = self.simulation.world.dice("busy moves")
        has_moves = moves.random() < BUSY_MOVES_SHARE
        self._moves = BusyMoves(self.simulation, self.faults, moves, until=seconds) if has_moves else None
        self._note_what_was_drawn()

    def run(self) -> None:
        """From the beginning to the last check. Violations are the simulation's."""
        simulation, world = self.simulation, self.simulation.world
        try:
            self.faults.begin()
            if self._moves is not None:
                self._moves.begin()
            world.after(2.0, self._talk)
            simulation.run(self.seconds)
            self.faults.end_all()
            simulation.run(self.seconds + SETTLED_AFTER)
            self._silence_an_uplink()
            for _ in range(2):  # the first may meet the instant in which an unused tube ends
                simulation.act("client", simulation.client.open_stream)
                simulation.run(world.now + LAST_STREAM_SECONDS)
                if self._has_stream("client"):
                    break
            self._say_last()
            simulation.run(world.now + LAST_WORDS_SECONDS)
            if not simulation.violations:
                check_liveness(simulation)
            if not simulation.violations:
                self._end_the_tube()
        finally:
            simulation.close()

    def _note_what_was_drawn(self) -> None:
        simulation = self.simulation
        for name, link in simulation.internet.links.items():
            behind = "" if link.nat is Nat.NONE else f", behind a NAT ({link.nat.value})"
            path = f"delay {duration(link.delay)}, jitter {duration(link.jitter)}, loss {link.loss:.0%}"
            simulation.note(f"{where(name)}: {', '.join(link.addresses)}{behind}, metric {link.metric}, {path}")
        relay = "no relay" if simulation.relay is None else str(simulation.relay.terms)
        if simulation.internet.says_late:
            simulation.note("the kernels say up to 1 s late that a link runs")
        remembers = duration(simulation.internet.mapping_lifetime)
        simulation.note(f"{relay}; NATs remember who is silent for {remembers}; in the end {self._ending.value}")
        for setting, value in self._settings.items():
            simulation.note(f"{setting} = {value}")

    def _silence_an_uplink(self) -> None:
        """That in use, both ways or one way only, to the end, while both ends talk. Another works, by which both the
        other end and the rendezvous can be reached."""
        simulation, dice = self.simulation, self.simulation.world.dice("silent uplink")
        internet, sites = simulation.internet, Counter(name.site for name in simulation.internet.links)
        choices = [site for site in simulation.machines if sites[site] > 1]
        if not choices or dice.random() >= SILENT_UPLINK_SHARE:
            return
        if "restart.max_restarts_per_minute" in self._settings:  # the few allowed restarts may be used up
            simulation.run(simulation.world.now + LIMIT_WINDOW)
        simulation.act("client", simulation.client.open_stream)
        self._talk_on(simulation.world.now + TALKING_BEFORE + STANDBY_SECONDS)
        simulation.run(simulation.world.now + TALKING_BEFORE)
        site, ends = dice.choice(choices), self._ends()
        address = ends[site].tube.driver.carriers.held.local_address if site in ends else None
        if address is None or (name := internet.home(site, address)) is None:
            simulation.run(simulation.world.now + STANDBY_SECONDS)  # until both have talked
            return  # `check_liveness` says so
        kind = dice.choice(["nothing in or out", "nothing in", "nothing out"])
        simulation.note(f"{where(name)}: silent to the end, {kind}")
        if kind == "nothing in or out":
            internet.change(name, cut=Cut.ALL)
        else:
            internet.befall(name, **{"is_deaf" if kind == "nothing in" else "is_mute": True})
        simulation.run(simulation.world.now + STANDBY_SECONDS)
        for end, of_end in ends.items():
            if not of_end.state.is_up:
                simulation.violated(f"another uplink works, and the {end}'s tube is {of_end.state.name}")
        simulation.run(simulation.world.now + SETTLED_AFTER - STANDBY_SECONDS)

    def _ends(self) -> dict[str, TunnelConnectionManager]:
        """Of the client's tube, as far as they are up."""
        simulation, manager = self.simulation, self.simulation.client.manager
        if manager is None or manager.tube_id not in simulation.gateway.registry:
            return {}
        ends = {"client": manager, "gateway": simulation.gateway.registry.manager(manager.tube_id)}
        return {site: end for site, end in ends.items() if end.state.is_up}

    def _talk_on(self, until: float) -> None:
        """Both ends, all the time, on whatever stream they have."""
        simulation = self.simulation
        if simulation.world.now >= until:
            return
        simulation.world.after(TALKING_INTERVAL, self._talk_on, until)
        for site in ("client", "gateway"):
            speaking = [each for each in simulation.process(site).workloads if each.is_alive and each.speaks]
            if speaking:
                simulation.act(site, speaking[-1].say, 100)

    def _end_the_tube(self) -> None:
        """One that nobody wants, or uses, or whose other end has gone for good, does not live on."""
        simulation = self.simulation
        manager = simulation.client.manager
        assert manager is not None
        simulation.note(f"the end: {self._ending.value}")
        match self._ending:
            case Ending.STOPPED:
                simulation.act("client", self._say_and_stop)
            case Ending.UNUSED:
                pass
            case Ending.GONE:
                simulation.crash("client")
        began_at = simulation.world.now
        simulation.run(began_at + _ENDS_WITHIN[self._ending])
        # A tube that is being closed does not recover: where its path falls silent just then, bytes are lost.
        is_path_lost = any(at >= began_at for at, _, decision in simulation.decisions if decision.trigger is not None)
        for workload in self._last_workloads if not is_path_lost else ():
            if (came := workload.mine.received_bytes) != (sent := workload.mine.sent_bytes):
                text = f"{came} of {sent} bytes of stream {workload.stream_id} have come"
                simulation.violated(f"{self._ending.value}, and {text}")
        if not manager.state.is_final and self._ending is not Ending.GONE:
            simulation.violated(f"{self._ending.value}, and the client's tube is {manager.state.name}")
        if manager.tube_id in simulation.gateway.registry:
            simulation.violated(f"{self._ending.value}, and the gateway keeps the tube")

    def _say_and_stop(self) -> None:
        """What is said right before the client is stopped arrives before its tube ends."""
        client = self.simulation.client
        self._last_workloads = [
            workload
            for workload in client.workloads
            if workload.manager is client.manager and workload.speaks and workload.is_alive
        ]
        for workload in self._last_workloads:
            workload.say(LAST_WORDS_BYTES)
        client.stop()

    # Traffic.

    def _talk(self) -> None:
        world, dice = self.simulation.world, self._dice
        if world.now >= self.seconds:
            return
        world.after(dice.expovariate(1 / _MEAN_SAYING), self._talk)
        for site in ("client", "gateway"):
            if self.simulation.machines[site].runs and self.simulation.is_started(site) and dice.random() < 0.6:
                self.simulation.act(site, self._say, site)

    def _say_last(self) -> None:
        """Once all is well, what is said arrives at once, both ways, in each stream and in the new one."""
        simulation = self.simulation
        for site in ("client", "gateway"):
            if not self._has_stream(site):
                simulation.violated(f"the {site} has no stream to say anything in")
            for workload in simulation.process(site).workloads:
                simulation.act(site, workload.say, 100)

    def _has_stream(self, site: str) -> bool:
        """Whether it could say something that would arrive."""
        return any(
            workload.speaks and workload.manager.state.is_up for workload in self.simulation.process(site).workloads
        )

    def _say(self, site: str) -> None:
        dice = self._dice
        process = self.simulation.process(site)
        process.workloads = [workload for workload in process.workloads if not workload.is_lost]
        workloads = [workload for workload in process.workloads if workload.is_alive]
        if site == "client" and (not workloads or dice.random() < 0.15) and len(workloads) < 8:
            target = FORBIDDEN_TARGET if dice.random() < 0.1 else None
            if (new := self.simulation.client.open_stream(*([target] if target else []))) is not None:
                new.is_forbidden = target is not None
                self.simulation.note(
                    f"{site} opens stream {new.stream_id}{' to what is not allowed' if target else ''}"
                )
                new.reads_after = dice.choice([0.0, 0.0, 0.01, 2.0])
                workloads.append(new)
        if not workloads:
            return
        workload, act = dice.choice(workloads), dice.random()
        if act < 0.85:
            workload.say(int(math.exp(dice.uniform(0, math.log(150_000)))))
        elif act < 0.95:
            self.simulation.note(f"{site} finishes stream {workload.stream_id}")
            workload.finish()
        else:
            self.simulation.note(f"{site} resets stream {workload.stream_id}")
            workload.say(LAST_WORDS_BYTES)
            if dice.random() < 0.2:
                workload.abort()
            else:
                workload.reset()


def _ending(seed: int) -> Ending:
    return Random(f"{seed} ending").choice(list(Ending))


def _settings(seed: int) -> dict[str, object]:
    """Little patience, and for some small windows, buffers and restart limits, so that a little of everything meets its
    bounds."""
    dice = Random(f"{seed} settings")
    settings: dict[str, object] = {}
    match _ending(seed):
        case Ending.UNUSED:
            settings["session.session_timeout"] = _SHORT_PATIENCE
        case Ending.GONE:
            settings["restart.abandon_after"] = _SHORT_PATIENCE
    if dice.random() < 0.5:
        settings["resources.stream_window_bytes"] = 65536
        settings["resources.stream_buffer_bytes"] = 65536
        settings["resources.session_buffer_bytes"] = dice.choice([65536, 1048576])
    if dice.random() < 0.5:
        settings["restart.max_restarts_per_minute"] = 6
    if Random(f"{seed} roles").random() < PATIENT_SHARE:
        settings["restart.max_restart_attempts"] = PATIENT_POLICY.max_restart_attempts
    return settings


def _relay(seed: int) -> Terms | None:
    """None in every second history; in every eighth one whose credentials expire."""
    if seed % 2 == 0:
        return None
    if seed % 8 != 7:
        return Terms()
    dice = Random(f"{seed} relay")
    return Terms(dice.choice([20.0, 60.0, 300.0]), is_strict=dice.random() < 0.7)


def _links(seed: int) -> dict[LinkName, Link]:
    """The machines' networks, drawn from the seed."""
    dice = Random(f"{seed} links")
    links = {}
    nats = [Nat.NONE, Nat.NONE, Nat.ENDPOINT_INDEPENDENT, Nat.SYMMETRIC]
    for place, name in enumerate(dice.sample(["eth", "wlan", "wwan"], dice.choice([1, 2, 2, 3]))):
        links[LinkName("client", name)] = Link(
            addresses=(f"192.168.{10 + place}.10",),
            metric=100 * (place + 1),
            delay=dice.choice([0.0002, 0.005, 0.02, 0.08]),
            jitter=dice.choice([0.0, 0.0, 0.002]),
            loss=dice.choice([0.0, 0.0, 0.0, 0.01]),
            nat=dice.choice(nats),
        )
    for place in range(dice.choice([1, 1, 2])):
        links[LinkName("gateway", f"eth{place}")] = Link(
            addresses=(f"10.{place}.0.10",),
            metric=100 * (place + 1),
            delay=dice.choice([0.0002, 0.005]),
            cut=Cut.PEERS if seed % 16 == 15 else Cut.NONE,  # nothing but the relay, whose credentials expire
        )
    return links
