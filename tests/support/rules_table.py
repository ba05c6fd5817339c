"""The rules of recovery as docs/recovery.md shows them, made from `perdure.core.rules`."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby

from perdure.core.conditions import GLARE_DELAY
from perdure.core.decision import DecisionReason, RecoveryAction
from perdure.core.rules import SHARED, TABLES, Rule, Table, Until

COLUMNS = ("**what happens**, and the situation", "what is done", "reason")

_AGAIN = {
    None: "",
    Until.GRACE: ", until `handover_grace` is over",
    Until.LIMIT: ", until the limit allows it",
    Until.BACKOFF: ", for the backoff",
    Until.GLARE: f", for {GLARE_DELAY} s",
    Until.RESUMED: ", until that time is over",
}


def rows() -> Iterator[tuple[str, ...]]:
    """Each table behind its title, and behind those that can be asked the ones that they have in common."""
    for table in (*TABLES, *SHARED):
        yield f"**{table.title}**", "", ""
        for (_, *answer), parts in groupby(table.parts, _said):
            yield "; or ".join(map(_situation, parts)), *answer


def answers() -> set[tuple[RecoveryAction, DecisionReason]]:
    """What the rules can answer, as they say it."""
    return {(rule.action, rule.reason) for table in TABLES for rule in table.rules}


def _said(part: Rule | Table) -> tuple[int, str, str]:
    """What neighbours must have in common to be one row."""
    match part:
        case Rule(_, action, reason, until):
            return 0, action.value + _AGAIN[until], reason.value
        case Table():
            return id(part), "", ""


def _situation(part: Rule | Table) -> str:
    return part.when.words if isinstance(part, Rule) else f"*{part.title}*"
