"""A guard's card: what it stops and what it stops wrongly, measured.

Bundled cards are package data; `mtb guards measure` adds the user's own in the cache folder. A card counts only for the
configuration, named by its hash, that was measured.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from multitask_bench.errors import DataError
from multitask_bench.guards._spec import GuardSpec
from multitask_bench.records import cache_folder, packaged_json, read_json, write_json


def card_of(spec: GuardSpec) -> dict[str, Any] | None:
    """The card of that very configuration: the user's, else the bundled one, else None."""
    return named_card(spec.name, spec.config_hash)


def named_card(name: str, config_hash: str) -> dict[str, Any] | None:
    """The card of a configuration by its hash, for which the guard need not be here: it may be one by a path."""
    own = _file(name, config_hash)
    if own.is_file():
        found = read_json(own)
        if not isinstance(found, dict) or not isinstance(found.get("measured"), list):
            raise DataError(f"{own}: not a guard's card; remove it and measure again.")
        return found
    bundled = _bundled(name)
    return bundled if bundled is not None and bundled.get("config_hash") == config_hash else None


def cards_folder() -> Path:
    """Where the user's cards are: $MTB_CACHE/guard-cards, else in the user's cache folder."""
    return cache_folder() / "guard-cards"


def card_file(spec: GuardSpec) -> Path:
    """The user's card of one configuration."""
    return _file(spec.name, spec.config_hash)


def _file(name: str, config_hash: str) -> Path:
    return cards_folder() / f"{name}-{config_hash}.json"


def keep_card(spec: GuardSpec, made: dict[str, Any]) -> Path:
    """Write ``made`` to the user's cards, in place of an earlier one of the same configuration."""
    path = card_file(spec)
    write_json(path, made)
    return path


def _bundled(name: str) -> dict[str, Any] | None:
    found: dict[str, Any] | None = packaged_json("multitask_bench.guards", "cards", f"{name}.json")
    return found
