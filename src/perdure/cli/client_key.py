"""`perdure client-key`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from perdure.cli import options
from perdure.cli.running import say

if TYPE_CHECKING:
    from pathlib import Path


@click.command
@options.state_dir
def client_key(state_dir: Path | None) -> None:
    """Show the public key of this installation as a client, in base64; the key is made on first use.

    It is what a gateway's file of --authorized-keys has.
    """
    from perdure import state_folder
    from perdure.keys import key_text, public_bytes

    say(key_text(public_bytes(state_folder.client_key(options.state_folder(state_dir)))))
