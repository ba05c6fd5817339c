"""The lab: real network namespaces whose links fail as real ones do, and TCP connections that must live through it."""
