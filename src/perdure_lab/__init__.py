"""The proving ground: the lab, the simulator, their scenarios and the demo. Nothing of `perdure` imports it."""
