"""The decisions of one tube: pure, with time and randomness as arguments.

`Connection` takes events and times, and returns actions; a driver carries them out (`perdure.tube`).
"""
