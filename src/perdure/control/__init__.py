"""A running command answers `perdure status` and the like, over a unix socket that only its user reaches."""
