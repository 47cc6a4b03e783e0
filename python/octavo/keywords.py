"""Keyword arguments that become options in JSON: unknown ones are a TypeError that names the nearest."""
from __future__ import annotations

import difflib
import json
from typing import Any, Iterable, Mapping


def check_keywords(function: str, given: Iterable[str], known: Iterable[str]) -> None:
    """Raises TypeError for the first name that is not known."""
    known = sorted(known)
    for name in given:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=2)
            hint = f"; did you mean {' or '.join(near)}?" if near else ""
            raise TypeError(f"{function} has no argument '{name}'{hint}")


def to_json(options: Mapping[str, Any]) -> str:
    """Options without those that are None; numpy's and torch's numbers are numbers."""
    return json.dumps({name: value for name, value in options.items() if value is not None}, default=_plain)


def _plain(value: Any) -> Any:
    if hasattr(value, "tolist"):  # numpy and torch
        return value.tolist()
    if hasattr(value, "__index__"):
        return value.__index__()
    if isinstance(value, (set, frozenset, tuple)):
        return list(value)
    if hasattr(value, "__fspath__"):
        return value.__fspath__()
    raise ValueError(f"a {type(value).__name__} is no option's value")
