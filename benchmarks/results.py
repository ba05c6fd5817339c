"""What `python -m benchmarks` keeps of a run: figures as JSON, their tables and plots in README.md, and comparisons."""

from __future__ import annotations

import json
import re
import statistics
from dataclasses import asdict, dataclass, field
from html import escape
from pathlib import Path

from benchmarks.report import figure as shown
from benchmarks.report import spread

HERE = Path(__file__).parent
README = HERE / "README.md"
FIGURES = HERE.parent / "docs" / "figures"

BAR, GAP, LABEL, PLOT, FIGURE = 16, 6, 190, 360, 150
"""Pixels: the height of a bar and what is between two, the widths of a peer's name, the bars and a figure."""


@dataclass(frozen=True, slots=True)
class Measured:
    """Some work through one peer."""

    work: str
    peer: str
    unit: str
    rounds: list[float]
    less_is_better: bool

    @property
    def median(self) -> float:
        return statistics.median(self.rounds)

    def __str__(self) -> str:
        return spread(self.rounds, unit=self.unit)


@dataclass(slots=True)
class Part:
    """One benchmark's run."""

    command: str
    load: str
    """Before it."""
    rows: list[list[str]] = field(default_factory=list)
    """Of its tables; a head is followed by its rows."""
    heads: list[int] = field(default_factory=list)
    """Which of them are heads."""
    figures: list[Measured] = field(default_factory=list)
    versions: str = ""
    """Of what it used, as they stand above its tables."""
    is_met: bool = True
    """What its own verdict is."""

    def add(self, line: str) -> None:
        """A line that `report` has recorded."""
        entry = json.loads(line)
        if "head" in entry:
            self.heads.append(len(self.rows))
            self.rows.append(entry["head"])
        elif "row" in entry:
            self.rows.append(entry["row"])
        else:
            self.figures.append(Measured(**entry))

    def tables(self) -> str:
        lines: list[str] = []
        for number, row in enumerate(self.rows):
            if number in self.heads:
                lines += [""] * bool(lines) + [_line(row), _line(["---"] * len(row))]
            else:
                lines.append(_line(row))
        return "\n".join(lines)


@dataclass(slots=True)
class Run:
    """Some benchmarks, one after the other."""

    date: str
    versions: dict[str, str]
    parts: dict[str, Part] = field(default_factory=dict)

    def write(self, path: Path) -> None:
        path.write_text(json.dumps(asdict(self), indent=1) + "\n")


def read(path: Path) -> Run:
    """Raises `ValueError` where that is no such file."""
    try:
        found = json.loads(path.read_text())
        parts = {
            name: Part(**{**part, "figures": [Measured(**each) for each in part["figures"]]})
            for name, part in found["parts"].items()
        }
        return Run(found["date"], found["versions"], parts)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} is no file of `python -m benchmarks`: {error}") from error


def compare(before: Run, after: Run) -> list[list[str]]:
    """A row for each figure that both have: what changed, and whether that is beyond what chance does."""
    rows = []
    for name, part in after.parts.items():
        was = {(each.work, each.peer): each for each in before.parts[name].figures} if name in before.parts else {}
        pairs = [(was[now.work, now.peer], now) for now in part.figures if (now.work, now.peer) in was]
        for then, now in pairs:
            ratio = f"{now.median / then.median:.2f}"
            rows.append([now.work, now.peer, str(then), str(now), ratio, _said(then, now)])
    return rows


def _said(then: Measured, now: Measured) -> str:
    """Beyond noise: no round of one is as good as any of the other, of three rounds each at least."""
    if min(len(then.rounds), len(now.rounds)) < 3:
        return "too few rounds"
    if max(now.rounds) < min(then.rounds):
        return "better" if now.less_is_better else "WORSE"
    if min(now.rounds) > max(then.rounds):
        return "WORSE" if now.less_is_better else "better"
    return "within noise"


def update_readme(run: Run, text: str) -> str:
    """README.md with the tables of `run` between the marks of each part that has some there."""
    for name, part in run.parts.items():
        if len(part.rows) == len(part.heads):
            continue  # it prints no table
        with_versions = part.versions and f" {part.versions}."
        head = f"`{part.command}` on {run.date}, {part.load} before it.{with_versions}"
        made = f"<!-- made: {name} -->\n{head}\n\n{part.tables()}\n<!-- end -->"
        pattern = rf"<!-- made: {re.escape(name)} -->.*?<!-- end -->"
        text = re.sub(pattern, lambda _, made=made: made, text, flags=re.DOTALL)  # type: ignore[misc]
    return text


def plot(figures: list[Measured]) -> str:
    """An SVG: for each work a bar for each peer, and a line from the lowest to the highest round."""
    body, y = [], 0
    for work in dict.fromkeys(figure.work for figure in figures):
        of_work = [figure for figure in figures if figure.work == work]
        most = max(max(figure.rounds) for figure in of_work) or 1.0
        better = "less" if of_work[0].less_is_better else "more"
        y += BAR + GAP
        body.append(
            f'<text x="0" y="{y}" class="work">{escape(work)}, {escape(of_work[0].unit)} ({better} is better)</text>'
        )
        for figure in of_work:
            y += GAP
            low, middle, high = (
                LABEL + PLOT * each / most for each in (min(figure.rounds), figure.median, max(figure.rounds))
            )
            ours = ' class="ours"' if figure.peer.startswith("perdure") else ""
            body += [
                f'<text x="{LABEL - 8}" y="{y + BAR - 4}" text-anchor="end">{escape(figure.peer)}</text>',
                f'<rect x="{LABEL}" y="{y}" width="{middle - LABEL:.0f}" height="{BAR}"{ours}/>',
                f'<line x1="{low:.0f}" x2="{high:.0f}" y1="{y + BAR / 2}" y2="{y + BAR / 2}"/>',
                f'<text x="{max(middle, high) + 6:.0f}" y="{y + BAR - 4}">{shown(figure.median)}</text>',
            ]
            y += BAR
    width, height = LABEL + PLOT + FIGURE, y + GAP
    style = (
        "text{font:12px sans-serif;fill:#444}.work{font-weight:bold}rect{fill:#b9c4d0}.ours{fill:#3b7dd8}"
        "line{stroke:#222;stroke-width:1.5}@media(prefers-color-scheme:dark){text{fill:#ccc}line{stroke:#eee}}"
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}">'
        f"<style>{style}</style>{''.join(body)}</svg>\n"
    )


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"
