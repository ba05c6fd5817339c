"""What an application passes, checked at the call: a mistake is told there, and not where the value is used."""

from __future__ import annotations

import inspect

from perdure.core.state import CLOSE_REASONS, Reason


def check_type(name: str, value: object, kind: type | tuple[type, ...], wanted: str) -> None:
    """Raises `TypeError` where `value` is no `kind`; it does not show the value, which may be a secret."""
    if not isinstance(value, kind):
        raise TypeError(f"{name} is {wanted}, not {type(value).__name__}")


def check_callable(name: str, value: object) -> None:
    """Raises `TypeError` where `value` cannot be called."""
    if not callable(value):
        raise TypeError(f"{name} is a function, or something else to call, not {type(value).__name__}")


def check_methods(name: str, value: object, methods: tuple[str, ...]) -> None:
    """Raises `TypeError` that names those of `methods` that `value` lacks."""
    missing = [method for method in methods if not callable(getattr(value, method, None))]
    if missing:
        raise TypeError(
            f"{name} has the methods {', '.join(methods)}; {type(value).__name__} has no {', '.join(missing)}"
        )


def check_timeout(value: object) -> None:
    """Seconds to wait for something.

    Raises:
        TypeError: `value` is neither a number nor `None`.
        ValueError: it is below 0, or nan: a timer of the event loop with that would disorder the others.
    """
    if value is None:
        return
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise TypeError(f"timeout is a number of seconds, or None, not {type(value).__name__}")
    if not value >= 0:
        raise ValueError(f"timeout is a number of seconds from 0, or None, not {value}")


def check_handler(value: object) -> None:
    """Raises `TypeError` unless `value` is an async function, or something else whose call is one."""
    if not _is_async(value):
        raise TypeError("handler is an async function: async def handler(reader, writer)")


def check_incoming(value: object) -> None:
    """Raises `TypeError` unless `value` is a plain function, or something else whose call is one."""
    if not callable(value) or _is_async(value):
        raise TypeError("incoming is a plain function: def incoming(stream)")


def _is_async(value: object) -> bool:
    call = value if inspect.isroutine(value) else getattr(value, "__call__", None)  # noqa: B004 (how, not whether)
    return inspect.iscoroutinefunction(value) or inspect.iscoroutinefunction(call)


def check_close(reason: object, detail: object) -> None:
    """Whether a tube may be closed so.

    Raises:
        TypeError: `reason` is no `Reason`, or `detail` no text.
        ValueError: `reason` is none of `CLOSE_REASONS`.
    """
    names = ", ".join(each.name for each in Reason if each in CLOSE_REASONS)
    check_type("reason", reason, Reason, f"one of CLOSE_REASONS ({names}; a text goes into detail=)")
    if reason not in CLOSE_REASONS:
        name = reason.name if isinstance(reason, Reason) else ""
        raise ValueError(f"a tube is not closed for {name}; choose one of CLOSE_REASONS: {names}")
    check_type("detail", detail, str, "a text")
