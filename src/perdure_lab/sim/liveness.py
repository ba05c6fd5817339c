"""What must hold once the network has been good for a while: all is up, all has arrived, nobody waits for room."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from perdure_lab.sim.application import Course, Workload
    from perdure_lab.sim.peers import Process
    from perdure_lab.sim.simulation import Simulation

SETTLED_AFTER = 30.0
"""Seconds of a good network after which everything has to be well."""


def check_liveness(simulation: Simulation) -> None:
    """The network has been good for `SETTLED_AFTER`."""
    for check in simulation.claims:
        check()
    manager = simulation.client.manager
    if manager is None or not manager.state.is_up:
        simulation.violated(f"the client's tube is {manager.state.name if manager is not None else 'not there'}")
        return
    if manager.tube_id not in simulation.gateway.registry:
        simulation.violated("the gateway has no such tube")
        return
    other = simulation.gateway.registry.manager(manager.tube_id)
    if not other.state.is_up:
        simulation.violated(f"the gateway's tube is {other.state.name}")
    living = sum(
        not record.is_over for (tube_id, _), record in simulation.ledger.records.items() if tube_id == manager.tube_id
    )
    for site, end in (("client", manager), ("gateway", other)):
        if (count := end.metrics.streams) > living:
            simulation.violated(f"the {site}'s session carries {count} streams; {living} are alive")
    for process in (simulation.client, simulation.gateway):
        _check_carriers(simulation, process)
        for workload in process.workloads:
            if workload.manager.tube_id == manager.tube_id:
                _check_workload(simulation, f"the {process.machine.name}'s stream {workload.stream_id}", workload)
    for (tube_id, stream_id), record in simulation.ledger.records.items():
        if tube_id == manager.tube_id and not record.was_reset:
            for name, course in (("up", record.up), ("down", record.down)):
                _check_course(simulation, f"stream {stream_id} {name}", course)


def _check_carriers(simulation: Simulation, process: Process) -> None:
    """Each carrier of the process belongs to a tube."""
    sets = [manager.tube.driver.carriers.held for manager in process.registry]
    held = {carrier for each in sets for carrier in (each.current, each.spare, each.old)}
    if leaked := [carrier.name for carrier in process.engine.alive if carrier not in held]:
        simulation.violated(f"no tube holds {', '.join(leaked)}, which the {process.machine.name} has not closed")


def _check_workload(simulation: Simulation, name: str, workload: Workload) -> None:
    if workload.is_alive:
        if workload.backlog_bytes or (workload.speaks and workload.waits_for_room):
            simulation.violated(f"{name} still waits for room")
    elif not workload.is_lost:
        simulation.violated(f"{name} has ended, and its protocol was not told")
    if workload.is_unanswered:
        simulation.violated(f"{name} still waits to be accepted")


def _check_course(simulation: Simulation, name: str, course: Course) -> None:
    if course.received_bytes != course.sent_bytes:
        simulation.violated(f"{name}: {course.received_bytes} of {course.sent_bytes} bytes have come")
    elif course.is_finished and not course.is_heard_out:
        simulation.violated(f"{name}: its end has not come")
