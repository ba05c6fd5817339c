"""What befalls a simulated network and its machines: faults of many kinds, alone and in clusters, drawn with dice."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable
from itertools import combinations_with_replacement
from typing import TYPE_CHECKING

from perdure_lab.scenario.describe import describe
from perdure_lab.scenario.figures import duration
from perdure_lab.scenario.model import Cut, LinkChange, LinkName, Nat
from perdure_lab.sim.internet import FAIR, Bursts, interface_of

if TYPE_CHECKING:
    from random import Random

    from perdure.manager import TunnelConnectionManager
    from perdure_lab.sim.simulation import Simulation

_MEAN_CALM = 90.0
"""Seconds between clusters of faults."""

_MEAN_RULE = 120.0
"""Seconds between two times that the peers are unruly, in a history in which they are."""

_MEAN_SILENCE = 2.0
"""Seconds between two times that unruly peers have something to say."""

_MOST_SAID_BYTES = 20_000
"""What they say at once, at most."""

AT_WORK_BYTES = 150_000
"""More than the smallest windows."""

_CLUSTER_SECONDS = 4.0
"""The faults of a cluster begin within so many."""

_INSTANTS = {"new address", "mappings lost", "clock jump", "carrier killed", "rebuild asked for", "busy move"}
"""Faults that do not last: two of them are never there at once."""

_ALONE = {"no credentials", "no rendezvous", "unruly rendezvous", "unruly peers", "short-lived flows"}
"""Of these there is never a second one."""


class Faults:
    """Those of one history: each has a beginning, and most have an end, drawn from milliseconds to minutes.

    Args:
        until: the instant of the simulation from which on none begins.
        unruly_peers: dice for when the peers say more than they mean to; `None`: they never do.
    """

    def __init__(
        self, simulation: Simulation, dice: Random, *, until: float, unruly_peers: Random | None = None
    ) -> None:
        self._peer_dice = unruly_peers
        self._simulation = simulation
        self._dice = dice
        self._until = until
        self.kinds: Counter[str] = Counter()
        """How often each kind of fault happened."""
        self.pairs: Counter[tuple[str, str]] = Counter()
        """How often two kinds were there at once."""
        self._good = dict(simulation.internet.links)
        self._lasting: dict[int, tuple[str, str, Callable[[], None]]] = {}
        """The faults that last, by their number: the kind, the place, and how it ends."""
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
            (1.5, self._ask_for_recovery),
            (2.0, self._end_new_flows),
            (1.0, self._flap),
        ]
        if simulation.relay is not None and simulation.relay.terms.lifetime is not None:
            self._faults.append((1.5, self._stop_issuing))

    def begin(self) -> None:
        """Let them happen from now on."""
        self._simulation.world.after(self._dice.expovariate(1 / _MEAN_CALM), self._cluster)
        if self._peer_dice is not None:
            self._rule_peers(self._peer_dice)

    def end_all(self) -> None:
        """Those that last end now."""
        for key in list(self._lasting):
            self._end(key)

    def _cluster(self) -> None:
        world, dice = self._simulation.world, self._dice
        if world.now >= self._until:
            return
        for _ in range(1 + min(5, int(dice.expovariate(0.9)))):
            world.after(dice.random() * _CLUSTER_SECONDS, self._fault)
        world.after(dice.expovariate(1 / _MEAN_CALM), self._cluster)

    def _fault(self) -> None:
        if self._simulation.world.now < self._until:
            weights = [weight for weight, _ in self._faults]
            self._dice.choices([fault for _, fault in self._faults], weights)[0]()

    def _lasts(
        self, kind: str, place: str, end: Callable[[], None], detail: str = "", seconds: float | None = None
    ) -> None:
        """A fault of `kind` has begun; it ends after `seconds`, or at a time that is drawn, or with the chaos."""
        self._count(kind)
        self._began += 1
        key = self._began
        self._lasting[key] = (kind, place, end)
        self._simulation.note(f"{place}: {kind} begins{f', {detail}' if detail else ''} (#{key})")
        self._simulation.world.after(self._duration() if seconds is None else seconds, self._end, key)

    def happens(self, kind: str, place: str, detail: str = "") -> None:
        """A fault of `kind` that does not last."""
        assert kind in _INSTANTS
        self._count(kind)
        self._simulation.note(f"{place}: {kind} {detail}".rstrip())

    def _count(self, kind: str) -> None:
        self.kinds[kind] += 1
        for other in {other for other, _, _ in self._lasting.values()}:
            self.pairs[(min(kind, other), max(kind, other))] += 1

    def _end(self, key: int) -> None:
        found = self._lasting.pop(key, None)
        if found is not None:
            kind, place, end = found
            self._simulation.note(f"{place}: {kind} ends (#{key})")
            end()

    def _duration(self) -> float:
        """Seconds: as often 100 ms to 1 s as 10 to 100 s."""
        return math.exp(self._dice.uniform(math.log(0.02), math.log(180.0)))

    def _link(self) -> LinkName:
        return self._dice.choice(list(self._simulation.internet.links))

    def _site(self) -> str:
        return "client" if self._dice.random() < 0.7 else "gateway"

    def _change(self, kind: str, name: LinkName, detail: str = "", **values: object) -> None:
        """Until the fault ends; place several change the same, until the last of them does."""
        self._alter(kind, name, detail, self._simulation.internet.change, self._good[name], values)

    def _befall(self, kind: str, name: LinkName, detail: str = "", **values: object) -> None:
        """As `_change`, of the link's weather."""
        self._alter(kind, name, detail, self._simulation.internet.befall, FAIR, values)

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

        self._lasts(kind, where(name), end, detail)

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
        if values["rate"] is not None and dice.random() < 0.5:
            self._work()  # a link that nobody uses is not slow

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
        share, world = self._dice.choice([0.02, 0.1, 0.4]), self._simulation.world
        bursts = Bursts(world.dice(f"bursts {world.serial()}"), share, world.now)
        self._befall("bursts of losses", self._link(), f"{share:.0%} of the time", bursts=bursts)

    def _disorder(self) -> None:
        share = self._dice.choice([0.01, 0.1, 0.5])
        detail = f"{share:.0%} overtaken, as many doubled"
        self._befall("disorder", self._link(), detail, disorder=share, doubled=share)

    def _reorder_routes(self) -> None:
        name = self._link()
        metric = 50 if self._simulation.internet.links[name].metric > 50 else 900
        self._change("metric", name, f"now {metric}", metric=metric)

    def _new_address(self) -> None:
        internet, name = self._simulation.internet, self._link()
        address = self._good[name].addresses[0]
        prefix = address.rpartition("." if "." in address else ":")[0]
        number = self._dice.randrange(20, 250)
        fresh = f"{prefix}.{number}" if "." in address else f"{prefix}:{number:x}"
        gap = self._dice.choice([0.0, 0.0, 0.05, 0.3, 2.0])
        self.happens("new address", where(name), f"{fresh}, {duration(gap)} after the old one" if gap else fresh)
        if gap:
            internet.change(name, addresses=())
            self._simulation.world.after(gap, lambda: internet.change(name, addresses=(fresh,)))
        else:
            internet.change(name, addresses=(fresh,))

    def _lose_mappings(self) -> None:
        internet = self._simulation.internet
        if hidden := [name for name, link in internet.links.items() if link.nat is not Nat.NONE]:
            name = self._dice.choice(hidden)
            self.happens("mappings lost", where(name))
            internet.lose_mappings(name)

    def _flap(self) -> None:
        name, world = self._link(), self._simulation.world
        interval, times = self._dice.choice([0.02, 0.2, 1.0, 3.0]), self._dice.randrange(2, 20)
        detail = f"{times} times, off and on for {duration(interval)} each"
        self._lasts("flapping", where(name), lambda: None, detail, seconds=2 * times * interval)
        for turn in range(2 * times):
            world.after((turn + 1) * interval, self._flap_once, name, bool(turn % 2))

    def _flap_once(self, name: LinkName, up: bool) -> None:
        if not self._held[name, "up"] and (up or self._simulation.world.now < self._until):
            self._simulation.internet.change(name, up=up)

    def _stop_rendezvous(self) -> None:
        rendezvous = self._simulation.rendezvous
        if rendezvous.runs:
            rendezvous.stop()
            self._lasts("no rendezvous", "services", rendezvous.start)

    def _stop_issuing(self) -> None:
        """It is over long before the end: no event tells that credentials are issued again, and a provider that has
        failed often is asked once a minute."""
        relay, seconds = self._simulation.relay, self._duration()
        if relay is None or not relay.issues or self._simulation.world.now + seconds > self._until - 60.0:
            return
        relay.issues = False

        def end() -> None:
            relay.issues = True

        self._lasts("no credentials", "services", end, seconds=seconds)

    def _unsettle_rendezvous(self) -> None:
        rendezvous = self._simulation.rendezvous
        if rendezvous.unruly:
            return
        rendezvous.unruly = share = self._dice.choice([0.05, 0.2, 0.6])

        def end() -> None:
            rendezvous.unruly = 0.0

        self._lasts("unruly rendezvous", "services", end, f"it spoils {share:.0%}")

    def _rule_peers(self, dice: Random) -> None:
        """They behave for a while."""
        if self._simulation.world.now < self._until:
            self._simulation.world.after(dice.expovariate(1 / _MEAN_RULE), self._unsettle_peers, dice)

    def _unsettle_peers(self, dice: Random) -> None:
        if self._simulation.world.now >= self._until:
            return
        peers = self._simulation.unruly_peers
        peers.share = share = dice.choice([0.02, 0.1, 0.5])

        def end() -> None:
            peers.share = 0.0
            self._rule_peers(dice)

        seconds = math.exp(dice.uniform(math.log(1.0), math.log(60.0)))
        self._lasts("unruly peers", "both ends", end, f"they add to {share:.0%}", seconds)
        self._talk(dice)

    def _talk(self, dice: Random) -> None:
        """Unruly peers talk all the time: to silence nothing is added."""
        simulation = self._simulation
        if simulation.unruly_peers.share:
            self._work(int(math.exp(dice.uniform(0.0, math.log(_MOST_SAID_BYTES)))))
            simulation.world.after(dice.expovariate(1 / _MEAN_SILENCE), self._talk, dice)

    def _stall(self) -> None:
        self._stop(self._site(), asleep=False)

    def _sleep(self) -> None:
        self._stop(self._site(), asleep=True)

    def _stop(self, site: str, *, asleep: bool) -> None:
        simulation = self._simulation
        if simulation.machines[site].runs:
            simulation.stop(site, asleep=asleep)
            self._lasts("asleep" if asleep else "stalled", site, lambda: simulation.wake(site))

    def _clock_jump(self) -> None:
        site = self._site()
        if self._simulation.machines[site].runs:
            seconds = self._duration()
            self.happens("clock jump", site, f"of {duration(seconds)}")
            self._simulation.jump(site, seconds)

    def _crash(self) -> None:
        simulation, site = self._simulation, self._site()
        if simulation.machines[site].runs and simulation.is_started(site):
            simulation.crash(site)
            self._lasts("crashed", site, lambda: simulation.start(site))

    def _kill_carrier(self) -> None:
        if (manager := self._manager()) is not None:
            self.happens("carrier killed", "client")
            self._simulation.act("client", manager.tube.kill_carrier)

    def _ask_for_recovery(self) -> None:
        """By somebody at work."""
        if (manager := self._manager()) is not None:
            self.happens("rebuild asked for", "client")
            self._work()
            self._simulation.act("client", manager.rebuild)

    def _work(self, count: int = AT_WORK_BYTES) -> None:
        """Both ends have so many bytes to say, on two streams at most."""
        simulation = self._simulation
        for site in ("client", "gateway"):
            if simulation.machines[site].runs and simulation.is_started(site):
                for workload in simulation.process(site).workloads[-2:]:
                    if workload.is_alive:
                        simulation.act(site, workload.say, count)

    def _end_new_flows(self) -> None:
        """Something on the way lets a flow begin, looks at it, and lets nothing more through: firewalls do."""
        internet = self._simulation.internet
        if internet.ends_new_flows:
            return
        internet.ends_new_flows = share = self._dice.choice([0.3, 0.8])

        seconds = self._dice.uniform(1.0, 30.0)
        self._lasts(
            "short-lived flows", "internet", internet.let_new_flows_live, f"{share:.0%} of the new ones", seconds
        )

    def _manager(self) -> TunnelConnectionManager | None:
        simulation = self._simulation
        if not simulation.machines["client"].runs or not simulation.is_started("client"):
            return None
        return simulation.client.manager


def possible_pairs(kinds: Iterable[str]) -> int:
    """How many pairs of them can be there at once, a kind with itself included."""
    pairs = combinations_with_replacement(sorted(set(kinds)), 2)
    return sum(not {one, other} <= _INSTANTS and not (one == other and one in _ALONE) for one, other in pairs)


def where(name: LinkName) -> str:
    """The site, and the interface as perdure names it."""
    return f"{name.site} {interface_of(name)}"
