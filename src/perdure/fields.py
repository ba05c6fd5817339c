"""Values from outside become what a class' annotations ask for, or an error that names field, value and range. Pure.

A field is annotated `Annotated[float, number("s", 0.1, 600), "What it means."]`. The `extra` of its `msgspec.Meta` may
hold

* `unit`: what the number counts;
* `zero`: what 0 means, where 0 is allowed beside the range;
* `form`: what a text looks like;
* `secret`: whether a value that does not fit must not be repeated.
"""

from __future__ import annotations

import re
import reprlib
from dataclasses import MISSING, dataclass, fields
from functools import cache
from typing import TYPE_CHECKING, Any, get_type_hints

import msgspec
from msgspec import inspect

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

KIB = 1024
MIB = 1024 * KIB

_INDEX = re.compile(r"`\$\[(\d+)\]`")
"""As msgspec says where in a list a value does not fit."""

_TEXT = "a text"

_BOUNDED = reprlib.Repr()
_BOUNDED.maxstring = 80


class FieldError(ValueError):
    """The value of the field `name` does not fit, or there is no such field."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(reason)
        self.name = name


class ClashError(ValueError):
    """The values of the fields `names` do not go together, though each is in its range.

    Args:
        reason: with a `{}` for each name.
    """

    def __init__(self, reason: str, *names: str) -> None:
        super().__init__(reason.format(*names))
        self.reason = reason
        self.names = names


def number(unit: str, low: float, high: float, *, zero: str = "") -> msgspec.Meta:
    """The annotation of a number from `low` to `high`."""
    return msgspec.Meta(ge=low, le=high, extra={"unit": unit, "zero": zero})


@dataclass(frozen=True, slots=True)
class Setting:
    """A field: what it takes, and what it means."""

    type: Any
    """As msgspec converts to it."""
    default: Any
    """`MISSING` where there is none."""
    text: str
    """What it means."""
    noun: str
    """What a value is: `a whole number`, `a list of texts`."""
    item: str = ""
    """What each value of a list is."""
    length: int | None = None
    """The most values that a list may have."""
    low: float | None = None
    """Of a number, or of each in a list."""
    high: float | None = None
    unit: str = ""
    zero: str = ""
    form: str = ""
    secret: bool = False

    @property
    def is_text(self) -> bool:
        """Whether any text is taken."""
        return self.noun == _TEXT

    @property
    def bounds(self) -> str:
        """`0.01 to 3600`, `64 KiB to 1 GiB`, `true or false`."""
        if self.low is None or self.high is None:
            return self.form or self.noun
        show = show_bytes if self.unit == "bytes" else show_number
        return f"{show(self.low)} to {show(self.high)}"

    @property
    def range(self) -> str:
        """The bounds with their unit and exception: `1 to 60 s, or 0 (never)`."""
        bounds = f"{self.bounds} {self.unit}" if self.unit not in {"", "bytes"} else self.bounds
        return f"{bounds}, or 0 ({self.zero})" if self.zero else bounds

    def converted(self, name: str, value: object) -> Any:
        """`value` as the field holds it.

        Raises:
            FieldError: it does not fit.
        """
        if self.zero and value == 0 and not isinstance(value, bool):
            return 0.0
        try:
            return msgspec.convert(float(value) if isinstance(value, float) else value, self.type)
        except msgspec.ValidationError as error:
            raise FieldError(name, self._refusal(name, value, str(error))) from error

    def _refusal(self, name: str, value: object, error: str) -> str:
        noun, example = self.noun, self._example(value)
        if isinstance(value, list | tuple):
            if self.length is not None and len(value) > self.length:
                return f"{name} has {len(value)} values, more than {self.length}"
            if index := _INDEX.search(error):
                name, value, noun = f"{name}[{index[1]}]", value[int(index[1])], self.item
        expected = noun if self.low is None else f"{noun} from {self.range}"
        expected += (f" such as {self.form}" if self.form else "") + example
        if self.secret:
            return f"{name} is not {expected}"
        is_no_int = isinstance(value, float) and noun == "a whole number"  # "5, not a whole number" would be a riddle
        return f"{name} is {repr(value) if is_no_int else shown(value)}, not {expected}"

    def _example(self, value: object) -> str:
        """How a list is written, or a number, where `value` is none."""
        items = {_TEXT: "'…', '…'", "a number": "60, 120"}.get(self.item)
        if items is not None and not isinstance(value, list | tuple):
            return f"; a list is [{items}]"
        if not self.item and self.low is not None and isinstance(value, str):
            example = self.default if isinstance(self.default, int | float) and self.default else self.low
            unit = {"": "", "s": "seconds, "}.get(self.unit, f"{self.unit}, ")
            return f" ({unit}such as {show_number(example)})"
        return ""


@cache
def settings_of(kind: type) -> Mapping[str, Setting]:
    """The fields of a dataclass, in their order."""
    hints = get_type_hints(kind, include_extras=True)
    return {each.name: _setting(hints[each.name], each.default) for each in fields(kind)}


def _setting(hint: Any, default: Any) -> Setting:
    text = next((said for said in getattr(hint, "__metadata__", ()) if isinstance(said, str)), "")
    return Setting(hint, default, text, **_described(inspect.type_info(hint)))


def defaults_of(kind: type) -> dict[str, Any]:
    """What the fields of a dataclass are when nobody sets them; without those that must be set."""
    return {name: setting.default for name, setting in settings_of(kind).items() if setting.default is not MISSING}


def converted(kind: type, values: Mapping[str, object], *, others: Iterable[str] = ()) -> dict[str, Any]:
    """`values` as the fields of `kind` hold them; `others` are names that there could have been too.

    Raises:
        FieldError: there is no such field (the nearest one is named), or a value does not fit.
    """
    settings = settings_of(kind)
    for name in values:
        if name not in settings:
            raise FieldError(name, f"there is no {shown(name)} here; {nearest(name, [*settings, *others])}")
    return {name: settings[name].converted(name, value) for name, value in values.items()}


def check_fields(instance: Any) -> None:
    """Convert each field of a frozen dataclass in its place.

    Raises:
        FieldError: a value does not fit.
    """
    kind: type = type(instance)
    for name, value in converted(kind, {name: getattr(instance, name) for name in settings_of(kind)}).items():
        object.__setattr__(instance, name, value)


def _described(info: inspect.Type) -> dict[str, Any]:
    """What a type says of the values that it takes."""
    match info:
        case inspect.Metadata(inner, _, extra):
            return _described(inner) | (extra or {})
        case inspect.UnionType(types):  # with None only: a field that may stay unset
            return _described(types[0])
        case inspect.IntType():
            return {"noun": "a whole number", "low": info.ge, "high": info.le}
        case inspect.FloatType():
            return {"noun": "a number", "low": info.ge, "high": info.le}
        case inspect.VarTupleType(item) | inspect.ListType(item):
            each = _described(item)
            noun = each["noun"].removeprefix("one of ")
            noun = noun if noun != each["noun"] else f"{noun.removeprefix('a ')}s"
            return each | {"noun": f"a list of {noun}", "item": each["noun"], "length": info.max_length}
        case inspect.EnumType(cls):
            return {"noun": f"one of {', '.join(each.value for each in cls)}"}
        case inspect.LiteralType(values):
            names = list(map(str, values))
            return {"noun": " or ".join(names) if len(names) == 2 else f"one of {', '.join(names)}"}
        case inspect.BoolType():
            return {"noun": "true or false"}
        case inspect.DictType():
            return {"noun": "a table"}
        case _:
            return {"noun": _TEXT}


def show_number(value: float) -> str:
    """As a person writes it: `2592000`, `0.05`."""
    if abs(value) < 1e15:
        return str(int(value)) if value == int(value) else repr(value)
    try:
        return f"{value:g}"
    except OverflowError:  # an int that no float holds; its digits are no help to anybody
        return "beyond 1e308" if value > 0 else "beyond -1e308"


def show_bytes(size: float) -> str:
    """`64 KiB`: in the largest unit that leaves a whole number, which may be bytes."""
    for unit, name in ((1024**4, "TiB"), (1024**3, "GiB"), (MIB, "MiB"), (KIB, "KiB")):
        if size >= unit and size % unit == 0:
            return f"{show_number(size / unit)} {name}"
    return f"{show_number(size)} bytes"


def shown(value: object) -> str:
    """`value` as Python writes it, but of bounded length, and without control characters."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return show_number(value)  # which knows ints that Python refuses to write
    try:
        return _BOUNDED.repr(value)
    except ValueError:  # such an int, inside
        return "a number of very many digits"


def nearest(name: str, known: Iterable[str], *, otherwise: str = "") -> str:
    """The most similar of the `known` names as a question; if none is, `otherwise`, or all of them.

    Of a dotted name the last part is compared: a table would make all names in it alike.
    """
    from difflib import get_close_matches

    known = tuple(known)
    by_key = {_key(each): each for each in known}
    if found := get_close_matches(_key(name), by_key, n=1, cutoff=0.5):
        return f"did you mean {by_key[found[0]]}?"
    return otherwise or f"there {'is' if len(known) == 1 else 'are'} {', '.join(known)}"


def _key(name: str) -> str:
    """What is compared."""
    return name.rpartition(".")[2][:64].lower().replace("-", "_")
