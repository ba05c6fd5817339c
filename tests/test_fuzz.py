"""What `python -m fuzz` drives for hours, with the inputs that are kept and a few others; without atheris."""

from __future__ import annotations

import pytest
from fuzz.harnesses import HARNESSES, MAX_INPUT_BYTES, Harness, kept
from hypothesis import given
from hypothesis import strategies as st

NAMES = sorted(HARNESSES)


def spliced(name: str) -> st.SearchStrategy[bytes]:
    """Two kept inputs, each cut somewhere, and something between."""
    inputs = st.sampled_from(kept(name))
    cut = st.tuples(inputs, st.integers(0, 600), st.binary(max_size=40), inputs, st.integers(0, 600))
    return cut.map(lambda parts: parts[0][: parts[1]] + parts[2] + parts[3][parts[4] :])


@pytest.mark.parametrize("name", NAMES)
def test_what_is_kept_breaks_no_harness(name: str) -> None:
    assert kept(name)
    for data in kept(name):
        HARNESSES[name].run(data)


@pytest.mark.parametrize("name", NAMES)
@given(data=st.data())
def test_only_errors_of_ours_come_of_any_bytes(name: str, data: st.DataObject) -> None:
    HARNESSES[name].run(data.draw(st.binary(max_size=200) | spliced(name)))


REPEATED: dict[str, bytes] = {
    "zeros": b"\0",
    "brackets": b"[",
    "quotes": b'"',
    "lines": b"\n",
    "invalid UTF-8": b"\xff",
    "fingerprints": b"a=fingerprint:sha-256 00\r\n",
    "candidates": b"candidate:1 1 udp 1 192.0.2.1 9 typ host\n",
    "keys": b"a.b.c=1\n",
    "tables": b"[[step]]\n",
    "digits": b"9",
    "nested messages": b'{"type":',
}


@pytest.mark.parametrize("piece", REPEATED.values(), ids=REPEATED.keys())
@pytest.mark.parametrize("name", NAMES)
def test_no_long_input_breaks_a_harness(name: str, piece: bytes) -> None:
    harness = HARNESSES[name]
    for head in (b"", *kept(name)):
        data = (head + piece * MAX_INPUT_BYTES)[:MAX_INPUT_BYTES]
        harness.run(data)  # what it may cost, only the fuzzer judges: a busy machine has figures of its own


def test_what_breaks_a_promise_is_not_taken() -> None:
    def broken(data: bytes) -> None:
        raise KeyError(data)

    harness: Harness = Harness(broken)
    with pytest.raises(KeyError):
        harness.run(b"x")
