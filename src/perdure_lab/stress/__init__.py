"""Stress tests: many tubes, limits, faults and a hostile neighbour, sized by the machine. Never part of CI."""
