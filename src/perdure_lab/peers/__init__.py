"""Other tunnels as the lab runs them, each a gateway and a client. The lab does without this package."""
