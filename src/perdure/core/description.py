"""What the core reads in a session description."""

from __future__ import annotations


def ice_ufrag(sdp: str) -> str | None:
    """The first ICE user-name fragment (RFC 8839 §5.4): a new one is what makes an ICE restart."""
    marker = "a=ice-ufrag:"
    start = sdp.find(marker)
    return None if start < 0 else sdp[start + len(marker) :].partition("\n")[0].strip()
