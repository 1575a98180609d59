"""A judge's card: its measured agreement with human labels, as package data."""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Any

from multitask_bench.judges._spec import judges


def card(name: str) -> dict[str, Any] | None:
    """The card of the judge ``name``, or None: no card, or one of another version or other settings.

    Raises: UnknownNameError: no judge has that name.
    """
    current = judges.get(name)().config_hash
    try:
        text = files("multitask_bench.judges").joinpath("cards", f"{name.rpartition('@')[2]}.json").read_text("utf-8")
    except FileNotFoundError:
        return None
    found: dict[str, Any] = json.loads(text)
    return found if found.get("config_hash") == current else None
