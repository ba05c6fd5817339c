"""The proving ground: lab, simulator, scenarios, demo and conformance peer. Nothing of `perdure` imports it."""
