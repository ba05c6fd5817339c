"""perdure: WebRTC tunnels that outlive the network."""

import logging

__version__ = "0.1.0"

logging.getLogger(__name__).addHandler(logging.NullHandler())
