"""One configuration out of layers: a command's defaults, a TOML file, assignments, flags; each value knows its source.

A value's full name is its table's and its own, as TOML writes it: `restart.abandon_after`. Every mistake is a
`ValueError` whose message begins with the source.
"""

from __future__ import annotations

import reprlib
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from perdure.config import (
    KIB,
    ResourceLimits,
    RestartPolicy,
    SessionLimits,
    Value,
    check_setting,
    defaults_of,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

TABLES: Mapping[str, type] = MappingProxyType(
    {"restart": RestartPolicy, "session": SessionLimits, "resources": ResourceLimits}
)
"""Tables of the file, which are also the fields of `Configuration`."""

DEFAULT = "default"
"""The source of what nobody has set."""

MAX_FILE_BYTES = 64 * KIB
"""A file that sets everything, with a comment each, has 4 KiB."""

_DEFAULTS: Mapping[str, Value] = MappingProxyType(
    {f"{table}.{key}": value for table, kind in TABLES.items() for key, value in defaults_of(kind).items()}
)


@dataclass(frozen=True, slots=True)
class Layer:
    """Values by their full names, each checked, and the one source that they have.

    Raises:
        ValueError: a name is unknown (the nearest one is told), or a value out of its range.
    """

    source: str
    values: Mapping[str, object]

    def __post_init__(self) -> None:
        for name, value in self.values.items():
            if name not in _DEFAULTS:
                raise ValueError(f"{self.source}: there is no {_quoted(name)}; {_nearest(name)}")
            table, _, key = name.partition(".")
            try:
                check_setting(TABLES[table], key, value)
            except ValueError as error:  # its message begins with the key
                raise ValueError(f"{self.source}: {table}.{error}") from error


@dataclass(frozen=True, slots=True)
class Configuration:
    """All that may be set, and by full name where each value comes from."""

    restart: RestartPolicy = field(default_factory=RestartPolicy)
    session: SessionLimits = field(default_factory=SessionLimits)
    resources: ResourceLimits = field(default_factory=ResourceLimits)
    sources: Mapping[str, str] = field(default_factory=lambda: dict.fromkeys(_DEFAULTS, DEFAULT), hash=False)


def layered(*layers: Layer) -> Configuration:
    """The defaults under `layers`, of which a later one hides an earlier.

    Raises:
        ValueError: values that are in their ranges do not go together.
    """
    values = dict(_DEFAULTS)
    sources = dict.fromkeys(_DEFAULTS, DEFAULT)
    for layer in layers:
        for name, value in layer.values.items():
            values[name] = _like(_DEFAULTS[name], value)
            sources[name] = layer.source
    tables = {table: _table(table, values, sources) for table in TABLES}
    return Configuration(**tables, sources=MappingProxyType(sources))


def read_file(path: Path) -> Layer:
    """The values of a TOML file.

    Raises:
        ValueError: the file cannot be read, is no TOML, or sets what cannot be set.
    """
    values: dict[str, object] = {}
    for table, content in _parse(path, _read(path)).items():
        if table not in TABLES:
            raise ValueError(f"{path}: {_no_table(table, content)}")
        if not isinstance(content, dict):
            raise ValueError(f"{path}: {table} is {reprlib.repr(content)}, not a table; write [{table}]")
        values |= {f"{table}.{key}": value for key, value in content.items()}
    return Layer(str(path), _from_toml(values))


def parse_assignments(assignments: Iterable[str], *, source: str = "--set") -> Layer:
    """The values of `NAME=VALUE`: NAME is full, or just the key; VALUE as TOML writes it. The last of a NAME counts.

    Raises:
        ValueError: one is not NAME=VALUE, or sets what cannot be set.
    """
    values: dict[str, object] = {}
    for assignment in assignments:
        name, equals, text = (part.strip() for part in assignment.partition("="))
        if not equals or not name:
            raise ValueError(f"{source}: {_quoted(assignment)} is not NAME=VALUE, such as restart.abandon_after=60")
        values[_full_name(name)] = _parse_value(name, text, source)
    return Layer(source, _from_toml(values))


def _table(table: str, values: Mapping[str, Value], sources: Mapping[str, str]) -> Any:
    names = [name for name in values if name.startswith(f"{table}.")]
    try:
        return TABLES[table](**{name.partition(".")[2]: values[name] for name in names})
    except ValueError as error:
        given = dict.fromkeys(sources[name] for name in names if sources[name] != DEFAULT)
        raise ValueError(f"{' and '.join(given)}: {table}.{error}") from error


def _like(default: Value, value: Any) -> Value:
    """`value`, which was checked: an int where a float is meant becomes one."""
    match default:
        case float():
            return float(value)
        case tuple():
            return tuple(float(each) for each in value)
        case _:
            checked: Value = value
            return checked


def _from_toml(values: Mapping[str, object]) -> dict[str, object]:
    return {
        name: tuple(value) if isinstance(value, list) and isinstance(_DEFAULTS.get(name), tuple) else value
        for name, value in values.items()
    }


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from error
    if len(data) > MAX_FILE_BYTES:
        raise ValueError(f"{path} has more than {MAX_FILE_BYTES // KIB} KiB, too much for a configuration")
    return data


def _parse(path: Path, data: bytes) -> dict[str, Any]:
    import tomllib

    try:
        return tomllib.loads(data.decode("utf-8-sig"))  # editors on Windows begin a file with U+FEFF
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ValueError(f"{path} is not UTF-8 at line {line}") from error
    except ValueError as error:  # TOMLDecodeError, which says line and column, or an int of too many digits
        raise ValueError(f"{path} is not TOML: {error}") from error
    except RecursionError as error:
        raise ValueError(f"{path} is nested too deeply") from error


def _parse_value(name: str, text: str, source: str) -> object:
    import tomllib

    try:
        document = tomllib.loads(f"value = {text}")
    except (ValueError, RecursionError):
        document = {}
    if document.keys() != {"value"}:  # nothing, or further lines
        what = f"{_quoted(text)} for {_quoted(name)} is no TOML value"
        raise ValueError(f"{source}: {what}: a number, true, false, or a list such as [60, 120]")
    return document["value"]


def _full_name(name: str) -> str:
    """`restart.abandon_after` for `abandon_after`, where no other table has one; else `name` as it is."""
    full = [known for known in _DEFAULTS if known.partition(".")[2] == name]
    return full[0] if len(full) == 1 else name


def _no_table(table: str, content: object) -> str:
    """Why the file's head may not hold `table`."""
    if not isinstance(content, dict):
        full = _full_name(table)
        if full != table:
            return f"{table} stands in no table; it belongs under [{full.partition('.')[0]}]"
        return f"{_quoted(table)} stands in no table; {_nearest(table)}"
    return f"there is no table {_quoted(table)}; {_nearest(table, TABLES)}"


def _nearest(name: str, known: Iterable[str] = _DEFAULTS) -> str:
    """The nearest of the known names, as a question. Tables are not compared: they would make all their keys alike."""
    from difflib import get_close_matches

    by_key = {each.rpartition(".")[2]: each for each in known}
    key = name.rpartition(".")[2][:64].lower().replace("-", "_")
    found = get_close_matches(key, by_key, n=1, cutoff=0.5)
    if found:
        return f"did you mean {by_key[found[0]]}?"
    return f"there are {', '.join(known)}" if known is TABLES else "`perdure config show` lists the names"


def _quoted(text: str) -> str:
    """In quotes, without control characters, and of bounded length."""
    return repr(text if len(text) <= 80 else f"{text[:79]}…")
