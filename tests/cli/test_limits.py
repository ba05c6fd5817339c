"""What a person sees of a limit, and of a session's own end."""

from __future__ import annotations

from support.processes import running_client, running_gateway, running_rendezvous, starting_client
from support.targets import connected, echo, serving


async def test_a_client_too_many_is_told_so() -> None:
    # Found by review: it waited for hours, and nothing said for what.
    async with (
        running_rendezvous() as (_, url),
        running_gateway(url, "--set", "max_tubes=1") as (_, ticket),
        running_client(ticket, "127.0.0.1:9"),
        starting_client(ticket, "127.0.0.1:9") as client,
    ):
        await client.program.logs(
            "signaling", status="waiting for the gateway's answer: it has no room for another session; trying again"
        )


async def test_behind_a_session_that_timed_out_the_next_begins_at_once() -> None:
    # Found by review: for five seconds each connection was reset.
    options = ["--set", "session_timeout=2", "--set", "session_timeout_warning=1"]
    async with (
        serving(echo) as target,
        running_rendezvous() as (_, url),
        running_gateway(url) as (_, ticket),
        running_client(ticket, target, options=options) as client,
    ):
        since = client.program.mark
        said = await client.program.logs("new-session", level="WARNING")
        assert said["retry_in"] == 0
        await client.program.logs("tube-state", since=since, after="connected")
        async with connected(client.port()) as (reader, writer):
            writer.write(b"again")
            assert await reader.readexactly(5) == b"again"
