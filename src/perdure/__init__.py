"""perdure: WebRTC tunnels that outlive the network."""

__version__ = "0.1.0"
