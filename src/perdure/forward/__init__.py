"""Forwarding: what a stream is joined to on either side."""
