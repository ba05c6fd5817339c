"""Scenarios: what happens to a network, and what must hold, as data that any engine can play."""
