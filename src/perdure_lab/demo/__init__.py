"""The demo: a rendezvous, a gateway and a client as separate processes, real traffic, and faults again and again."""
