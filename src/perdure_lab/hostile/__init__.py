"""A hostile peer: a client that proves itself like any other, and then does what costs the gateway most."""
