"""`perdure gateway-key`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from perdure.cli import options
from perdure.cli.running import say

if TYPE_CHECKING:
    from pathlib import Path


@click.command
@options.state_dir
def gateway_key(state_dir: Path | None) -> None:
    """Show the public key of the gateway in the state folder, in base64; the key is made on first use.

    Every ticket names it: clients speak to no other gateway.
    """
    from perdure import state_folder
    from perdure.keys import key_text, public_bytes

    say(key_text(public_bytes(state_folder.gateway_key(options.state_folder(state_dir)))))
