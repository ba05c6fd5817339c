"""The conformance peer: it plays the protocol's rare cases against any implementation, over application signaling."""
