"""What a gateway is called towards another one that comes with the same key. It is for people."""

from __future__ import annotations

import os
import socket

from perdure.signaling.frames import MAX_NAME_CHARACTERS


def own_name() -> str:
    """This host's, and the process number: two gateways on one host have different names."""
    process = f", process {os.getpid()}"
    return socket.gethostname()[: MAX_NAME_CHARACTERS - len(process)] + process
