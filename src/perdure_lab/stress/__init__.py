"""Stress tests: many tubes, limits, faults and a hostile neighbour, sized by the machine. CI does not run them."""
