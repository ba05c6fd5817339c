"""Tables of a TOML file: their values fit the fields of a class, and each mistake is told with its file and line."""

from __future__ import annotations

import re
from dataclasses import MISSING, dataclass
from typing import TYPE_CHECKING, Any

from perdure.fields import FieldError, converted, settings_of, shown
from perdure.tomlfile import KeyPath, TomlError, line_of

if TYPE_CHECKING:
    from collections.abc import Mapping

_UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "min": 60.0}
_DURATION = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*(us|ms|s|min)\s*")


@dataclass(frozen=True, slots=True)
class Table:
    """A table of the file `source`, whose whole `text` is kept for the lines, and the keys that lead to it."""

    source: str
    text: str
    path: KeyPath
    values: Mapping[str, Any]

    def fail(self, reason: str, *keys: str | int) -> TomlError:
        """The error to raise about `keys` below this table."""
        return TomlError(f"{self.source}:{line_of(self.text, (*self.path, *keys))}: {reason}")

    def read(self, kind: type, *tables: str) -> dict[str, Any]:
        """The values as the fields of the dataclass `kind` hold them, but for the inner `tables`.

        Seconds may be a text such as `25ms`.

        Raises:
            TomlError: a field is missing or unknown, or its value does not fit.
        """
        settings = settings_of(kind)
        for name, setting in settings.items():
            if setting.default is MISSING and name not in self.values:
                raise self.fail(f"{name} is missing", name)
        in_seconds = {name for name, setting in settings.items() if setting.unit == "s"}
        own = {name: value for name, value in self.values.items() if name not in tables}
        values = {name: _seconds(value) if name in in_seconds else value for name, value in own.items()}
        try:
            return converted(kind, values, others=tables)
        except FieldError as error:
            hint = ", or a text such as '25ms'" if error.name in in_seconds else ""
            raise self.fail(f"{error}{hint}", error.name) from error

    def table(self, key: str) -> Table:
        """The table below `key`; an empty one where there is none."""
        value = self.values.get(key, {})
        if not isinstance(value, dict):
            raise self.fail(f"{key} is {shown(value)}, not a table", key)
        return Table(self.source, self.text, (*self.path, key), value)

    def tables(self, key: str) -> list[Table]:
        value = self.values.get(key, [])
        if not isinstance(value, list) or not all(isinstance(each, dict) for each in value):
            raise self.fail(f"{key} is not a list of tables; write [[{key}]], with two brackets", key)
        return [Table(self.source, self.text, (*self.path, key, index), each) for index, each in enumerate(value)]


def _seconds(value: object) -> object:
    match = _DURATION.fullmatch(value) if isinstance(value, str) else None
    return float(match[1]) * _UNITS[match[2]] if match else value
