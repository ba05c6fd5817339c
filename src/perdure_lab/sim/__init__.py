"""The deterministic simulator: whole peers, their signaling and the network between them, in virtual time from a seed.

What runs in it is perdure itself, from the registry down. What is made up is what lies outside: time, the WebRTC engine
(`engine`, `association`), the machine's network (`internet`), and what carries a WebSocket (`rendezvous`).
"""
