"""Asking running commands, from a command of its own. It blocks: nothing else happens there meanwhile."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

from perdure.control.folder import sockets
from perdure.control.messages import MAX_ANSWER_BYTES, AskStatus, ProcessStatus, Refused, Told, encode, read_answer

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from perdure.control.messages import Answer, Question

ANSWER_TIMEOUT = 5.0
"""Seconds that a command may take; one whose event loop is held up longer is told as such."""

_PIECE_BYTES = 64 * 1024


def ask(path: Path, question: Question) -> Answer:
    """What the command at `path` answers.

    Raises:
        OSError: nobody listens there, or it does not answer in time.
        ValueError: the answer cannot be read: the command is of another version.
    """
    with socket.socket(socket.AF_UNIX) as asking:
        asking.settimeout(ANSWER_TIMEOUT)
        asking.connect(str(path))
        asking.sendall(encode(question))
        answer = bytearray()
        while not answer.endswith(b"\n") and (piece := asking.recv(_PIECE_BYTES)):
            answer += piece
            if len(answer) > MAX_ANSWER_BYTES:
                raise ValueError("the answer has no end")
    return read_answer(bytes(answer))


def running(environment: Mapping[str, str] | None = None) -> tuple[list[tuple[Path, ProcessStatus]], list[str]]:
    """The commands that answer, and a sentence for each that does not."""
    found: list[tuple[Path, ProcessStatus]] = []
    problems: list[str] = []
    for path in sockets(os.environ if environment is None else environment):
        try:
            answer = ask(path, AskStatus())
        except (ConnectionRefusedError, FileNotFoundError):
            continue  # a killed process left it
        except TimeoutError:
            problems.append(f"the process at {path} does not answer within {ANSWER_TIMEOUT:g} s")
            continue
        except (OSError, ValueError) as error:
            problems.append(f"the process at {path} cannot be asked: {error}")
            continue
        match answer:
            case Told(status):
                found.append((path, status))
            case Refused(why):
                problems.append(f"the process at {path} does not tell: {why}")
    return found, problems
