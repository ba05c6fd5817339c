"""The pages of docs/: what they say, and their parts that are made from code.

`PYTHONPATH=tests python3 -m support.pages` makes those parts anew. Each stands behind a mark, `<!-- made: NAME -->`
(one of `PARTS`) or `<!-- replay … -->` (a script, see `support.replay`), and reaches to the next empty line.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from perdure.core.state import Reason, State, diagram
from perdure_lab.conformance.cases import ALL as CASES
from support import replay, rules_table, signal_table
from support.signal_table import SIGNALS

DOCS = Path(__file__).parents[2] / "docs"

REPLAYED = re.compile(r"(<!-- replay\n(.*?)\n-->\n)(?:[^\n]+\n)*", re.DOTALL)
MADE = re.compile(r"(<!-- made: ([\w ]+) -->\n)(?:[^\n]+\n)*")

ENDS: list[tuple[State, Reason, str]] = [
    (State.FAILED, Reason.ATTEMPTS_EXHAUSTED, "the client's attempts are spent"),
    (
        State.FAILED,
        Reason.ABANDONED,
        "no working path for `abandon_after`, which a gateway counts from the first offer; "
        "or no first offer within 60 s",
    ),
    (
        State.FAILED,
        Reason.PEER_STALLED,
        "the peer acknowledges nothing for `stall_timeout`, but answers what was sent later",
    ),
    (State.FAILED, Reason.PEER_RESTARTED, "the peer is a new process, which cannot know the session"),
    (State.FAILED, Reason.UNKNOWN_SESSION, "the peer says that it does not know the session"),
    (State.FAILED, Reason.PROTOCOL, "the peer broke the protocol"),
    (State.CLOSED, Reason.CLOSED_LOCALLY, "`shutdown()`, `close_all()`"),
    (State.CLOSED, Reason.CLOSED_BY_PEER, "the peer closed it"),
    (State.CLOSED, Reason.SESSION_TIMEOUT, "nobody used it for `session_timeout`"),
    (State.CLOSED, Reason.SESSION_LIMIT, "it lived for `session_duration_limit`"),
    (State.CLOSED, Reason.SHUT_DOWN, "the application ends: its `async with` block is left"),
    (State.CLOSED, Reason.STALE, "created, and never begun within `stale_tube_timeout`"),
]
"""How a tube ends, why, and when."""


class Page:
    """A page whose tables and sentences are compared with the code."""

    def __init__(self, name: str) -> None:
        self.text = (DOCS / name).read_text()

    def row(self, of: str) -> str:
        """The one row of a table whose first or second cell is `of`."""
        found = [line for line in self.text.splitlines() if line.startswith("|") and of in cells(line)[:2]]
        assert len(found) == 1, f"one row is for {of}"
        return found[0]

    def rows(self, head: str) -> list[str]:
        """The rows of the table whose head begins with `head`."""
        return self.text.partition(head)[2].partition("\n\n")[0].splitlines()[2:]

    def section(self, heading: str) -> str:
        return self.text.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]

    def check_rows(self, told: Mapping[str, str]) -> None:
        """Each text is in the row of its key."""
        for of, text in told.items():
            assert text in self.row(of), of

    def check(self, *told: str) -> None:
        """Each text is on the page."""
        for text in told:
            assert text in self.text, text


def cells(row: str) -> list[str]:
    return [cell.strip() for cell in re.split(r"(?<!\\)\|", row)[1:-1]]


@dataclass(frozen=True)
class Script:
    """A worked example of a page."""

    heading: str
    line: int
    text: str


def scripts(page: Path) -> list[Script]:
    """The worked examples of `page`."""
    text = page.read_text()
    found = []
    for match in REPLAYED.finditer(text):
        before = text[: match.start()]
        heading = re.findall(r"^#+ (.+)$", before, re.MULTILINE)[-1]
        found.append(Script(heading, before.count("\n") + 1, match[2]))
    return found


def made(text: str) -> str:
    """A page's text, with its parts as the code makes them now."""
    text = REPLAYED.sub(lambda match: match[1] + table(replay.COLUMNS, replay.played(match[2])), text)
    return MADE.sub(lambda match: match[1] + PARTS[match[2]], text)


def table(columns: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    head = list(columns)
    return "".join(f"| {' | '.join(each)} |\n" for each in [head, ["---"] * len(head), *rows])


PARTS = {
    "states": f"```mermaid\n{diagram()}\n```\n",
    "rules": table(rules_table.COLUMNS, rules_table.rows()),
    "signals": table(("kind", "type", "purpose", "when", "fields"), map(signal_table.as_cells, SIGNALS)),
    "conformance cases": table(
        ("case", "plays", "section"), [(f"`{case.name}`", case.plays, str(case.section)) for case in CASES]
    ),
    "reasons": table(("`Reason`", "text"), [(reason.name, reason.value) for reason in Reason]),
    "ends": table(("state", "`Reason`", "when"), [(state.name, reason.name, when) for state, reason, when in ENDS]),
}

if __name__ == "__main__":
    for page in sorted(DOCS.glob("*.md")):
        page.write_text(made(page.read_text()))
