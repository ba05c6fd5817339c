"""Signaling: how two peers exchange offers, answers and candidates through a rendezvous that neither trusts."""
