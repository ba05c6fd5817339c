"""The verbs of the proving ground, found by `perdure` through entry points (see pyproject.toml)."""
