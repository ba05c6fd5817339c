"""Programs that perdure is measured against in the lab, each a gateway and a client: `lab.subject.PEERS`."""
