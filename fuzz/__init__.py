"""Fuzzing of what reads bytes from outside: `python -m fuzz --seconds 60 --jobs 2` (needs `pip install -e '.[fuzz]'`).

`harnesses` says what is fuzzed and what an input may cost; `messages`, `handshakes` and `texts` have the readers, the
errors that they promise, and what holds of what they read. `child` drives one harness by atheris, `slowness` says what
an input costs, `corpus/` keeps a few inputs for each harness to begin with. tests/test_fuzz.py replays them and others
without atheris.
"""
