"""The stress tests, by hand: `python3 tests/manual_stress_tests.py --light` is `perdure stress --light`.

They take minutes to hours and as much of the machine as it has. So pytest does not collect them, and CI does not run
them.
"""

from perdure_lab.cli.stress import stress

if __name__ == "__main__":
    stress()
