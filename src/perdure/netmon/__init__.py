"""The network under this machine: what it is, what changed, and who slept. `monitor.NetworkMonitor` drives the rest."""
