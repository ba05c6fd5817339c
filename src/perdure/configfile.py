"""One configuration out of layers: a command's defaults, a TOML file, assignments, flags; each value knows its source.

A value's full name is its table's and its own, as TOML writes it: `restart.abandon_after`. Every mistake is a
`ValueError` whose message begins with the source; of values that do not go together it names the source of each.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from perdure import tomlfile
from perdure.config import ResourceLimits, RestartPolicy, ServeSettings, SessionLimits, TransportSettings, TurnSettings
from perdure.fields import ClashError, FieldError, nearest, settings_of, shown

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from perdure.fields import Setting

TABLES: Mapping[str, type] = MappingProxyType(
    {
        "serve": ServeSettings,
        "transport": TransportSettings,
        "turn": TurnSettings,
        "restart": RestartPolicy,
        "session": SessionLimits,
        "resources": ResourceLimits,
    }
)
"""Tables of the file, which are also the fields of `Configuration`."""

DEFAULT = "default"
"""The source of what nobody has set."""

_SETTINGS: Mapping[str, Setting] = MappingProxyType(
    {f"{table}.{key}": setting for table, kind in TABLES.items() for key, setting in settings_of(kind).items()}
)


@dataclass(frozen=True, slots=True)
class Layer:
    """Values by their full names, and the one source that they have.

    Raises:
        ValueError: a name is unknown (the nearest one is told), or a value out of its range.
    """

    source: str
    values: Mapping[str, Any]

    def __post_init__(self) -> None:
        try:
            object.__setattr__(self, "values", {name: _converted(name, value) for name, value in self.values.items()})
        except FieldError as error:
            raise ValueError(f"{self.source}: {error}") from error


@dataclass(frozen=True, slots=True)
class Configuration:
    """All that may be set, and by full name where each value comes from."""

    serve: ServeSettings = field(default_factory=ServeSettings)
    transport: TransportSettings = field(default_factory=TransportSettings)
    turn: TurnSettings = field(default_factory=TurnSettings)
    restart: RestartPolicy = field(default_factory=RestartPolicy)
    session: SessionLimits = field(default_factory=SessionLimits)
    resources: ResourceLimits = field(default_factory=ResourceLimits)
    sources: Mapping[str, str] = field(default_factory=lambda: dict.fromkeys(_SETTINGS, DEFAULT), hash=False)


def layered(*layers: Layer, flags: Mapping[str, str] = MappingProxyType({})) -> Configuration:
    """The defaults under `layers`, of which a later one hides an earlier.

    Args:
        flags: by a value's full name, the flag that also sets it: who uses flags is told of flags.

    Raises:
        ValueError: values that are in their ranges do not go together.
    """
    sources = dict.fromkeys(_SETTINGS, DEFAULT)
    values: dict[str, dict[str, Any]] = {table: {} for table in TABLES}
    for layer in layers:
        for name, value in layer.values.items():
            table, _, key = name.partition(".")
            values[table][key] = value
            sources[name] = layer.source
    tables = {table: _table(table, values[table], sources, flags) for table in TABLES}
    return Configuration(**tables, sources=MappingProxyType(sources))


def read_file(path: Path) -> Layer:
    """The values of a TOML file.

    Raises:
        ValueError: the file cannot be read, is no TOML, or sets what cannot be set.
    """
    text = tomlfile.read_text(path)
    values: dict[str, Any] = {}
    for table, content in tomlfile.parse(text, str(path)).items():
        keys: tuple[str, ...] = (table,)
        try:
            if table not in TABLES or not isinstance(content, dict):
                raise ValueError(_no_table(table, content))
            for key, value in content.items():
                keys = (table, key)
                values[".".join(keys)] = _converted(".".join(keys), value)
        except ValueError as error:
            raise ValueError(f"{path}:{tomlfile.line_of(text, keys)}: {error}") from error
    return Layer(str(path), values)


def line_of(path: Path, name: str) -> int:
    """The line of a value that the TOML file at `path` sets."""
    return tomlfile.line_of(tomlfile.read_text(path), tuple(name.split(".")))


def parse_assignments(assignments: Iterable[str], *, source: str = "--set") -> Layer:
    """The values of `NAME=VALUE`: NAME is full, or just the key; VALUE as TOML writes it, where a text needs no quotes.
    The last of a NAME counts.

    Raises:
        ValueError: one is not NAME=VALUE, or sets what cannot be set.
    """
    values: dict[str, object] = {}
    for assignment in assignments:
        name, equals, text = (part.strip() for part in assignment.partition("="))
        if not equals or not name:
            given = "what was given" if ":" in assignment else shown(assignment)  # it may be a server with its password
            raise ValueError(f"{source}: {given} is not NAME=VALUE, such as restart.abandon_after=60")
        name = _full_name(name)
        values[name] = _parse_value(_SETTINGS.get(name), text, source)
    return Layer(source, values)


def _converted(name: str, value: object) -> Any:
    if name not in _SETTINGS:
        raise FieldError(name, f"there is no {shown(name)}; {_nearest(name)}")
    return _SETTINGS[name].converted(name, value)


def _table(table: str, values: Mapping[str, Any], sources: Mapping[str, str], flags: Mapping[str, str]) -> Any:
    try:
        return TABLES[table](**values)
    except ClashError as error:
        names = [f"{table}.{name}" for name in error.names]
        by_flag = any(sources[name] == flags.get(name) for name in names)
        raise ValueError(
            error.reason.format(*(_called(name, sources[name], flags, by_flag) for name in names))
        ) from error


def _called(name: str, source: str, flags: Mapping[str, str], by_flag: bool) -> str:
    """`restart.abandon_after (--set)`; or its flag, where that is its source, or could be as one is that of another."""
    flag = flags.get(name)
    return flag if flag and (source == flag or (by_flag and source == DEFAULT)) else f"{name} ({source})"


def _parse_value(setting: Setting | None, text: str, source: str) -> object:
    """As TOML writes it, or else a text, which `setting` may refuse."""
    try:
        document = tomlfile.parse(f"value = {text}", source)
    except tomlfile.TomlError:
        return text
    if document.keys() != {"value"}:  # further lines
        return text
    value = document["value"]
    is_text = setting is not None and setting.is_text
    return text if is_text and not isinstance(value, str) else value


def _full_name(name: str) -> str:
    """`restart.abandon_after` for `abandon_after`, where no other table has one; else `name` as it is."""
    full = [known for known in _SETTINGS if known.partition(".")[2] == name]
    return full[0] if len(full) == 1 else name


def _no_table(table: str, content: object) -> str:
    """Why the file's head may not hold `table`. What it holds is not repeated: it may be a password."""
    if table in TABLES:
        return f"{table} is not a table; write [{table}]"
    if isinstance(content, dict):
        return f"there is no table {shown(table)}; {nearest(table, TABLES)}"
    full = _full_name(table)
    if full != table:
        return f"{table} stands in no table; it belongs under [{full.partition('.')[0]}]"
    return f"{shown(table)} stands in no table; {_nearest(table)}"


def _nearest(name: str) -> str:
    return nearest(name, _SETTINGS, otherwise="`perdure config show` lists the names")
