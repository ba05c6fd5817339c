"""How the code is laid out: no import circles, also none for types alone, and no file that grew too long."""

from __future__ import annotations

import ast
from pathlib import Path

SOURCE = Path(__file__).parents[1] / "src"
PACKAGES = ("perdure", "perdure_lab")
MAX_LINES = 400


def modules() -> dict[str, Path]:
    """Every module of ours, by its dotted name."""
    return {
        ".".join(file.relative_to(SOURCE).with_suffix("").parts).removesuffix(".__init__"): file
        for package in PACKAGES
        for file in (SOURCE / package).rglob("*.py")
    }


def imported_by(name: str, file: Path, known: dict[str, Path]) -> set[str]:
    """The modules of ours that a module names in an import, wherever that stands."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        match node:
            case ast.Import(names=names):
                wanted = [alias.name for alias in names]
            case ast.ImportFrom(module=str(module), names=names, level=0):
                wanted = [f"{module}.{alias.name}" for alias in names]
            case _:
                continue
        for full in wanted:
            found.add(full if full in known else full.rpartition(".")[0])
    return {each for each in found if each in known and each != name}


def circles(graph: dict[str, set[str]]) -> list[set[str]]:
    """Sets of modules that reach each other (Tarjan's strongly connected components)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found = []

    def visit(name: str) -> None:
        index[name] = low[name] = len(index)
        stack.append(name)
        for other in graph[name]:
            if other not in index:
                visit(other)
                low[name] = min(low[name], low[other])
            elif other in stack:
                low[name] = min(low[name], index[other])
        if low[name] == index[name]:
            circle = set(stack[stack.index(name) :])
            del stack[stack.index(name) :]
            if len(circle) > 1:
                found.append(circle)

    for name in graph:
        if name not in index:
            visit(name)
    return found


def test_no_modules_import_each_other_in_a_circle() -> None:
    known = modules()
    assert len(known) > 100
    assert circles({name: imported_by(name, file, known) for name, file in known.items()}) == []


def test_a_circle_would_be_seen() -> None:
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}) == [{"a", "b", "c"}]


def test_no_file_has_more_lines_than_one_reads() -> None:
    long = {
        name: count for name, file in modules().items() if (count := len(file.read_text().splitlines())) > MAX_LINES
    }
    assert long == {}
