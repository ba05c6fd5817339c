"""A user's own program in the lab: the file that names its command lines."""

from __future__ import annotations

from pathlib import Path

import pytest

from perdure_lab.lab.subject import PERDURE, filled, read_subject


def write(folder: Path, text: str) -> Path:
    path = folder / "own.toml"
    path.write_text(text)
    return path


def test_a_file_names_two_command_lines(tmp_path: Path) -> None:
    path = write(tmp_path, "gateway = \"server --to '{target}'\"\nclient = 'client --listen {port}'\n")
    subject = read_subject(path)
    assert subject.name == "own"
    assert filled(subject.gateway, directory="/d", target_port=9) == ["server", "--to", "127.0.0.1:9"]
    assert filled(subject.client, directory="/d", target_port=9) == ["client", "--listen", "7000"]


def test_what_perdure_needs_can_be_filled_in() -> None:
    for words in (PERDURE.gateway, PERDURE.client, PERDURE.rendezvous, PERDURE.relay_options):
        assert "{" not in "".join(filled(words, directory="/d", target_port=9))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("gateway = 'x'\n", "own.toml:1: client is missing"),
        ("gateway = 'x'\nclient = 'y'\nclinet = 'z'\n", "own.toml:3: there is no 'clinet' here; did you mean client?"),
        ("gateway = 'x {tarket}'\nclient = 'y'\n", "there is no {tarket} to fill in; there are python"),
        ("gateway = 'x {}'\nclient = 'y'\n", "own.toml: Format string contains positional fields"),
        ("gateway = 'x {target.y}'\nclient = 'y'\n", "own.toml: 'str' object has no attribute 'y'"),
        ("gateway = 'x {target[y]}'\nclient = 'y'\n", "own.toml: string indices must be integers"),
        ("gateway = 'x \"'\nclient = 'y'\n", "own.toml: No closing quotation"),
        ("gateway = \n", "own.toml:1: Invalid value"),
        ("gateway = 'x'\nclient = " + "[" * 5000, "own.toml:2: it is nested too deeply"),
        ("name = '../own'\ngateway = 'x'\nclient = 'y'\n", "own.toml: the name '../own' cannot be that of a file"),
        ("name = ''\ngateway = 'x'\nclient = 'y'\n", "the name '' cannot be that of a file"),
        ("name = '..'\ngateway = 'x'\nclient = 'y'\n", "the name '..' cannot be that of a file"),
        ('name = "a\\u0000"\ngateway = "x"\nclient = "y"\n', "cannot be that of a file"),
    ],
)
def test_a_mistake_in_it_is_told(tmp_path: Path, text: str, expected: str) -> None:
    with pytest.raises(ValueError, match=r"own\.toml") as caught:
        read_subject(write(tmp_path, text))
    assert expected in str(caught.value)


def test_a_file_is_read_as_a_scenarios_is(tmp_path: Path) -> None:
    text = "\ufeffgateway = 'x'\nclient = 'y'\n"
    assert read_subject(write(tmp_path, text)).name == "own"
    with pytest.raises(ValueError, match=r"own\.toml:1: it has more than 64 KiB"):
        read_subject(write(tmp_path, text.ljust(64 * 1024, "\n")))
