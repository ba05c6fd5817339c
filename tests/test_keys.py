"""Private keys: made once, for their owner alone, and nothing else is taken for one."""

from __future__ import annotations

import os
import stat
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, NoEncryption, PrivateFormat

import perdure
from perdure.errors import TicketError
from perdure.keys import key_text, load_or_make_key, parse_key_text, public_bytes
from perdure.private_files import locked, write_file
from perdure.state_folder import client_key_of, default_state_folder, gateway_key
from perdure.ticket_store import TicketStore
from support.tickets import ticket_for

if TYPE_CHECKING:
    from pathlib import Path


def test_a_key_is_made_once_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "state" / "key.pem"
    first = load_or_make_key(path)
    assert public_bytes(load_or_make_key(path)) == public_bytes(first)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert path.read_text().startswith("-----BEGIN PRIVATE KEY-----\n")
    assert public_bytes(gateway_key(tmp_path / "other")) != public_bytes(first)


@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="only root makes files for others")
def test_what_root_makes_in_a_users_folder_is_the_users(tmp_path: Path) -> None:
    os.chown(tmp_path, 1234, 5678)
    store = TicketStore(tmp_path)
    store.create("ada", now=1)
    _ = store.key
    made = list(tmp_path.rglob("*"))
    assert {path.name for path in made} == {"lock", "tickets", "ada.json", "gateway-key.pem"}
    assert {(path.stat().st_uid, path.stat().st_gid) for path in made} == {(1234, 5678)}


def test_those_who_make_a_key_at_the_same_time_have_the_same(tmp_path: Path) -> None:
    together = Barrier(9)

    def make(_: int) -> bytes:
        together.wait()
        return public_bytes(load_or_make_key(tmp_path / "key.pem"))

    with ThreadPoolExecutor(8) as threads:
        with locked(tmp_path):  # all find no key before one can make it
            keys = threads.map(make, range(8))
            together.wait()
        assert len(set(keys)) == 1


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o622, 0o666])
def test_a_key_that_others_can_read_or_write_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "key.pem"
    load_or_make_key(path)
    path.chmod(mode)
    with pytest.raises(TicketError, match=f"others can read or write the key file {path}, .*: chmod 600 {path}"):
        load_or_make_key(path)


def pem(key: X25519PrivateKey | Ed25519PrivateKey, password: bytes = b"") -> bytes:
    encryption = BestAvailableEncryption(password) if password else NoEncryption()
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "holds no key"),
        (b"garbage", "holds no key"),
        (pem(X25519PrivateKey.generate())[:60], "holds no key"),
        (pem(X25519PrivateKey.generate(), b"password"), "without a password"),
        (pem(Ed25519PrivateKey.generate()), "a key of another kind than X25519"),
        (bytes(5000), "it has more than 4096 bytes"),
    ],
    ids=["empty", "garbage", "truncated", "encrypted", "ed25519", "huge"],
)
def test_a_file_without_a_key_is_refused_and_kept(tmp_path: Path, content: bytes, why: str) -> None:
    path = tmp_path / "key.pem"
    write_file(path, content)
    with pytest.raises(TicketError, match=why):
        load_or_make_key(path)
    assert path.read_bytes() == content


def test_what_is_no_regular_file_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo", 0o600)
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "directory").mkdir()
    for name, why in {"fifo": "FIFO", "directory": "a directory", "loop": "symbolic links"}.items():
        with pytest.raises(TicketError, match=f"the key file .* cannot be read: .*{why}"):
            load_or_make_key(tmp_path / name)


def test_a_key_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(TicketError, match=r"the key file .*/file/key\.pem cannot be"):
        load_or_make_key(tmp_path / "file" / "key.pem")


@pytest.mark.parametrize("wrong", ["readable", "garbage", "directory"])
def test_a_client_whose_key_file_cannot_be_used_takes_no_other_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wrong: str
) -> None:
    """Its ticket would be bound to the other one."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    path = tmp_path / "perdure" / "client-key.pem"
    path.parent.mkdir()
    if wrong == "directory":
        path.mkdir()
    else:
        write_file(path, b"garbage" if wrong == "garbage" else pem(X25519PrivateKey.generate()))
        path.chmod(0o644 if wrong == "readable" else 0o600)
    ticket = ticket_for("ws://127.0.0.1:1")
    for client_key in (None, path):
        with pytest.raises(TicketError, match=f"the key file {path}.*; or move the file away for a new key, which"):
            perdure.connect(ticket, client_key=client_key)


def test_a_client_that_can_keep_no_key_has_one_for_its_process_and_is_told_what_that_means(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
    assert public_bytes(client_key_of(None)) != public_bytes(client_key_of(None))
    assert "this client's key is lost when the process ends: the key file" in caplog.text
    assert "a ticket with --uses that it binds stays bound to the lost key" in caplog.text
    with pytest.raises(TicketError, match=r"cannot be read: Not a directory$"):
        client_key_of(tmp_path / "file" / "key.pem")


def test_a_public_keys_text_is_read_again() -> None:
    key = bytes(range(32))
    assert parse_key_text(key_text(key)) == key
    for wrong in ("", "hello", key_text(key)[:-1], key_text(bytes(31)), key_text(key)[:-2] + "9=", "ä" * 44):
        with pytest.raises(ValueError, match="is no public key"):
            parse_key_text(wrong)


@pytest.mark.parametrize(
    ("environment", "folder"),
    [
        ({"STATE_DIRECTORY": "/var/lib/gate:/var/lib/more", "XDG_STATE_HOME": "/x"}, "/var/lib/gate"),
        ({"XDG_STATE_HOME": "/x"}, "/x/perdure"),
        ({"XDG_STATE_HOME": "not/absolute"}, "~/.local/state/perdure"),
        ({"STATE_DIRECTORY": ""}, "~/.local/state/perdure"),
    ],
)
def test_the_state_folder_is_systemds_or_where_xdg_says(environment: dict[str, str], folder: str) -> None:
    assert str(default_state_folder(environment)) == os.path.expanduser(folder)
