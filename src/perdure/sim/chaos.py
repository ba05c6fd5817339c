"""A history that nobody thought of: links, faults and traffic, all drawn from the seed.

Faults come alone and in clusters, so that rare ones meet: each has a beginning, and most have an end, drawn from
milliseconds to minutes. At last everything is made good, and after `checks.SETTLED_AFTER` it has to be well.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from enum import Enum
from random import Random
from typing import TYPE_CHECKING

from perdure.scenario.describe import describe
from perdure.scenario.figures import duration
from perdure.scenario.model import Cut, Link, LinkChange, LinkName, Nat
from perdure.sim.checks import SETTLED_AFTER, check_liveness
from perdure.sim.internet import FAIR, Bursts
from perdure.sim.simulation import Simulation
from perdure.wire import ResetCode

if TYPE_CHECKING:
    from perdure.manager import TunnelConnectionManager

CHAOS_SECONDS = 1200.0
"""Twenty minutes of trouble, of which most is calm, as in life."""

LAST_STREAM_SECONDS = 2.0
"""In which a stream that is opened at last is there at both ends: a round trip, and a lost packet's retransmission."""

LAST_WORDS_SECONDS = 3.0
"""In which what is said at last, on a good network, has come: some round trips, and a lost packet's retransmission."""

FORBIDDEN_TARGET = b"192.0.2.1:23"

_MEAN_CALM = 90.0
"""Seconds between clusters of faults."""

_CLUSTER_SECONDS = 4.0
"""The faults of a cluster begin within so many."""

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
"""Seconds: a polite end takes a round trip; ICE tells after 20 s that the other end is gone, then patience begins."""


class Chaos:
    """One history."""

    def __init__(self, seed: int, *, seconds: float = CHAOS_SECONDS) -> None:
        self.simulation = Simulation(
            seed,
            _links(seed),
            has_relay=bool(seed % 2),
            settings=_settings(seed),
            mapping_lifetime=Random(f"{seed} mappings").choice([30.0, 120.0, 300.0]),
        )
        self.seconds = seconds
        self._ending = _ending(seed)
        self.kinds: Counter[str] = Counter()
        """How often each kind of fault happened."""
        self.pairs: Counter[tuple[str, str]] = Counter()
        """How often two kinds were there at once."""
        self._dice: Random = self.simulation.world.dice("chaos")
        self._good = dict(self.simulation.internet.links)
        self._lasting: dict[int, tuple[str, str, Callable[[], None]]] = {}
        """The faults that last, by their number: the kind, where, and how it ends."""
        self._held: Counter[tuple[LinkName, str]] = Counter()
        """By how many faults that last each field of a link is changed."""
        self._began = 0
        self._faults: list[tuple[float, Callable[[], None]]] = [
            (3.0, self._switch_off),
            (3.0, self._unplug),
            (4.0, self._new_address),
            (3.0, self._cut),
            (3.0, self._impair),
            (1.5, self._close_one_way),
            (1.0, self._delay_one_way),
            (1.5, self._lose_in_bursts),
            (1.0, self._disorder),
            (1.0, self._reorder_routes),
            (2.0, self._lose_mappings),
            (2.0, self._stop_rendezvous),
            (1.5, self._unsettle_rendezvous),
            (2.0, self._stall),
            (2.0, self._sleep),
            (1.0, self._clock_jump),
            (1.0, self._crash),
            (1.5, self._kill_carrier),
            (1.0, self._ask_for_recovery),
            (1.0, self._flap),
        ]

    def run(self) -> None:
        """From the beginning to the last check. Violations are the simulation's."""
        simulation, world = self.simulation, self.simulation.world
        try:
            world.after(self._dice.expovariate(1 / _MEAN_CALM), self._cluster)
            world.after(2.0, self._talk)
            simulation.run(self.seconds)
            for key in list(self._lasting):
                self._end(key)
            simulation.run(self.seconds + SETTLED_AFTER)
            simulation.act("client", simulation.client.open_stream)
            simulation.run(self.seconds + SETTLED_AFTER + LAST_STREAM_SECONDS)
            self._say_last()
            simulation.run(self.seconds + SETTLED_AFTER + LAST_STREAM_SECONDS + LAST_WORDS_SECONDS)
            if not simulation.violations:
                check_liveness(simulation)
            if not simulation.violations:
                self._end_the_tube()
        finally:
            simulation.close()

    def _end_the_tube(self) -> None:
        """One that nobody wants, or uses, or whose other end has gone for good, does not live on."""
        simulation = self.simulation
        manager = simulation.client.manager
        assert manager is not None
        simulation.note(f"the end: {self._ending.value}")
        match self._ending:
            case Ending.STOPPED:
                simulation.act("client", simulation.client.stop)
            case Ending.UNUSED:
                pass
            case Ending.GONE:
                simulation.crash("client")
        simulation.run(simulation.world.now + _ENDS_WITHIN[self._ending])
        if not manager.state.is_final and self._ending is not Ending.GONE:
            simulation.violated(f"{self._ending.value}, and the client's tube is {manager.state.name}")
        if manager.tube_id in simulation.gateway.registry:
            simulation.violated(f"{self._ending.value}, and the gateway keeps the tube")

    # Faults.

    def _cluster(self) -> None:
        world, dice = self.simulation.world, self._dice
        if world.now >= self.seconds:
            return
        for _ in range(1 + min(5, int(dice.expovariate(0.9)))):
            world.after(dice.random() * _CLUSTER_SECONDS, self._fault)
        world.after(dice.expovariate(1 / _MEAN_CALM), self._cluster)

    def _fault(self) -> None:
        if self.simulation.world.now < self.seconds:
            weights = [weight for weight, _ in self._faults]
            self._dice.choices([fault for _, fault in self._faults], weights)[0]()

    def _lasts(self, kind: str, where: str, end: Callable[[], None], detail: str = "") -> None:
        """A fault of `kind` has begun; it ends at its time, or with the chaos."""
        self._count(kind)
        self._began += 1
        key = self._began
        self._lasting[key] = (kind, where, end)
        self.simulation.note(f"{where}: {kind} begins{f', {detail}' if detail else ''} (#{key})")
        self.simulation.world.after(self._duration(), self._end, key)

    def _happens(self, kind: str, where: str, detail: str = "") -> None:
        self._count(kind)
        self.simulation.note(f"{where}: {kind} {detail}".rstrip())

    def _count(self, kind: str) -> None:
        self.kinds[kind] += 1
        for other in {other for other, _, _ in self._lasting.values()}:
            self.pairs[(min(kind, other), max(kind, other))] += 1

    def _end(self, key: int) -> None:
        found = self._lasting.pop(key, None)
        if found is not None:
            kind, where, end = found
            self.simulation.note(f"{where}: {kind} ends (#{key})")
            end()

    def _duration(self) -> float:
        """Seconds: as often 10 to 100 ms as 10 to 100 s."""
        return math.exp(self._dice.uniform(math.log(0.02), math.log(180.0)))

    def _link(self) -> LinkName:
        return self._dice.choice(list(self.simulation.internet.links))

    def _site(self) -> str:
        return "client" if self._dice.random() < 0.7 else "gateway"

    def _change(self, kind: str, name: LinkName, detail: str = "", **values: object) -> None:
        """Until the fault ends; where several change the same, until the last of them does."""
        self._alter(kind, name, detail, self.simulation.internet.change, self._good[name], values)

    def _befall(self, kind: str, name: LinkName, detail: str = "", **values: object) -> None:
        """As `_change`, of the link's weather."""
        self._alter(kind, name, detail, self.simulation.internet.befall, FAIR, values)

    def _alter(
        self,
        kind: str,
        name: LinkName,
        detail: str,
        change: Callable[..., None],
        good: object,
        values: dict[str, object],
    ) -> None:
        held = self._held
        held.update((name, field) for field in values)
        change(name, **values)

        def end() -> None:
            held.subtract((name, field) for field in values)
            change(name, **{field: getattr(good, field) for field in values if not held[name, field]})

        self._lasts(kind, _where(name), end, detail)

    def _switch_off(self) -> None:
        self._change("interface off", self._link(), up=False)

    def _unplug(self) -> None:
        self._change("unplugged", self._link(), plugged=False)

    def _cut(self) -> None:
        cut = self._dice.choice([Cut.ALL, Cut.ALL, Cut.PEERS, Cut.PEERS_UDP])
        self._change(f"cut {cut.value}", self._link(), cut=cut)

    def _impair(self) -> None:
        dice, name = self._dice, self._link()
        values: dict[str, object] = {
            "delay": dice.choice([0.0, 0.02, 0.1, 0.4]),
            "jitter": dice.choice([0.0, 0.0, 0.01, 0.05]),
            "loss": dice.choice([0.0, 0.01, 0.05, 0.2, 0.4]),
            "rate": dice.choice([None, None, 20_000.0, 200_000.0]),
        }
        _, _, detail = describe([LinkChange(name, values)], self._good).partition(": ")
        self._change("impaired", name, detail, **values)

    def _close_one_way(self) -> None:
        field = self._dice.choice(["is_deaf", "is_mute"])
        self._befall(
            "one way only", self._link(), "nothing in" if field == "is_deaf" else "nothing out", **{field: True}
        )

    def _delay_one_way(self) -> None:
        field, seconds = self._dice.choice(["late_in", "late_out"]), self._dice.choice([0.05, 0.3, 1.0])
        way = "in" if field == "late_in" else "out"
        self._befall("late one way", self._link(), f"{duration(seconds)} more {way}", **{field: seconds})

    def _lose_in_bursts(self) -> None:
        share, world = self._dice.choice([0.02, 0.1, 0.4]), self.simulation.world
        bursts = Bursts(world.dice(f"bursts {world.serial()}"), share, world.now)
        self._befall("bursts of losses", self._link(), f"{share:.0%} of the time", bursts=bursts)

    def _disorder(self) -> None:
        share = self._dice.choice([0.01, 0.1, 0.5])
        detail = f"{share:.0%} overtaken, as many doubled"
        self._befall("disorder", self._link(), detail, disorder=share, doubled=share)

    def _reorder_routes(self) -> None:
        name = self._link()
        metric = 50 if self.simulation.internet.links[name].metric > 50 else 900
        self._change("metric", name, f"now {metric}", metric=metric)

    def _new_address(self) -> None:
        internet, name = self.simulation.internet, self._link()
        address = self._good[name].addresses[0]
        prefix = address.rpartition("." if "." in address else ":")[0]
        number = self._dice.randrange(20, 250)
        fresh = f"{prefix}.{number}" if "." in address else f"{prefix}:{number:x}"
        gap = self._dice.choice([0.0, 0.0, 0.05, 0.3, 2.0])
        self._happens("new address", _where(name), f"{fresh}, {duration(gap)} after the old one" if gap else fresh)
        if gap:
            internet.change(name, addresses=())
            self.simulation.world.after(gap, lambda: internet.change(name, addresses=(fresh,)))
        else:
            internet.change(name, addresses=(fresh,))

    def _lose_mappings(self) -> None:
        internet = self.simulation.internet
        if hidden := [name for name, link in internet.links.items() if link.nat is not Nat.NONE]:
            name = self._dice.choice(hidden)
            self._happens("mappings lost", _where(name))
            internet.lose_mappings(name)

    def _flap(self) -> None:
        name, world = self._link(), self.simulation.world
        interval, times = self._dice.choice([0.02, 0.2, 1.0, 3.0]), self._dice.randrange(2, 20)
        self._happens("flapping", _where(name), f"{times} times, off and on for {duration(interval)} each")
        for turn in range(2 * times):
            world.after((turn + 1) * interval, self._flap_once, name, bool(turn % 2))

    def _flap_once(self, name: LinkName, up: bool) -> None:
        if not self._held[name, "up"] and (up or self.simulation.world.now < self.seconds):
            self.simulation.internet.change(name, up=up)

    def _stop_rendezvous(self) -> None:
        rendezvous = self.simulation.rendezvous
        if rendezvous.runs:
            rendezvous.stop()
            self._lasts("no rendezvous", "services", rendezvous.start)

    def _unsettle_rendezvous(self) -> None:
        rendezvous = self.simulation.rendezvous
        if rendezvous.unruly:
            return
        rendezvous.unruly = share = self._dice.choice([0.05, 0.2, 0.6])

        def end() -> None:
            rendezvous.unruly = 0.0

        self._lasts("unruly rendezvous", "services", end, f"it spoils {share:.0%}")

    def _stall(self) -> None:
        self._stop(self._site(), asleep=False)

    def _sleep(self) -> None:
        self._stop(self._site(), asleep=True)

    def _stop(self, site: str, *, asleep: bool) -> None:
        simulation = self.simulation
        if simulation.machines[site].runs:
            simulation.stop(site, asleep=asleep)
            self._lasts("asleep" if asleep else "stalled", site, lambda: simulation.wake(site))

    def _clock_jump(self) -> None:
        site = self._site()
        if self.simulation.machines[site].runs:
            seconds = self._duration()
            self._happens("clock jump", site, f"of {duration(seconds)}")
            self.simulation.jump(site, seconds)

    def _crash(self) -> None:
        simulation, site = self.simulation, self._site()
        if simulation.machines[site].runs and simulation.is_started(site):
            simulation.crash(site)
            self._lasts("crashed", site, lambda: simulation.start(site))

    def _kill_carrier(self) -> None:
        if (manager := self._manager()) is not None:
            self._happens("carrier killed", "client")
            self.simulation.act("client", manager.streams.kill_carrier)

    def _ask_for_recovery(self) -> None:
        if (manager := self._manager()) is not None:
            self._happens("rebuild asked for", "client")
            self.simulation.act("client", manager.rebuild)

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
            talkers = [talker for talker in simulation.process(site).talkers if talker.speaks]
            if not any(talker.manager.state.is_up for talker in talkers):
                simulation.violated(f"the {site} has no stream to say anything in")
            for talker in talkers:
                simulation.act(site, talker.say, 100)

    def _say(self, site: str) -> None:
        dice = self._dice
        process = self.simulation.process(site)
        talkers = process.talkers = [talker for talker in process.talkers if talker.is_alive]
        if site == "client" and (not talkers or dice.random() < 0.15) and len(talkers) < 8:
            target = FORBIDDEN_TARGET if dice.random() < 0.1 else None
            if (new := self.simulation.client.open_stream(*([target] if target else []))) is not None:
                new.is_forbidden = target is not None
                new.reads_after = dice.choice([0.0, 0.0, 0.01, 2.0])
                talkers = process.talkers
        if not talkers:
            return
        talker, act = dice.choice(talkers), dice.random()
        if act < 0.85:
            talker.say(int(math.exp(dice.uniform(0, math.log(150_000)))))
        elif act < 0.95:
            talker.finish()
        else:
            talker.reset(ResetCode.ABORTED)

    def _manager(self) -> TunnelConnectionManager | None:
        simulation = self.simulation
        if not simulation.machines["client"].runs or not simulation.is_started("client"):
            return None
        return simulation.client.manager


def _where(name: LinkName) -> str:
    return f"{name.site} {name.name}"


def _ending(seed: int) -> Ending:
    return Random(f"{seed} ending").choice(list(Ending))


def _settings(seed: int) -> dict[str, object]:
    """Little patience, and for some small windows and buffers, so that a little traffic meets their bounds."""
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
    return settings


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
            addresses=(f"10.{place}.0.10",), metric=100 * (place + 1), delay=dice.choice([0.0002, 0.005])
        )
    return links
