"""`perdure close`: end a tunnel, or one of its streams."""

from __future__ import annotations

import click

from perdure.cli.running import say
from perdure.cli.steering import steer


@click.command
@click.argument("name", metavar="NAME", help="A tunnel as `perdure status` names it, or its beginning.")
@click.argument("stream", type=click.IntRange(min=0), required=False, metavar="[STREAM]", help="One of its streams.")
def close(name: str, stream: int | None) -> None:
    """End the tunnel NAME and all that it carries, or its STREAM alone. A client whose tunnel is ended ends itself; a
    gateway's client begins another one."""
    from perdure.control.messages import AskClose

    steer(name, lambda whole: AskClose(whole or "", stream))
    say("ended" if stream is None else f"stream {stream} ended")
