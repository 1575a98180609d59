"""A judge's card: its measured agreement with human labels.

Bundled cards are package data; `mtb judges measure` adds the user's own in the cache folder. A card
counts only for the configuration, named by its hash, that was measured.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from multitask_bench.errors import DataError
from multitask_bench.judges._spec import judges
from multitask_bench.records import cache_folder, packaged_json, read_json, write_json

FORMS = {
    "code_generation": "code generation",
    "translation": "translation",
    "classification": "classification",
    "summarization": "summarization",
}
LANGUAGES = {"en": "answers in English", "fr": "answers in French"}


def card(name: str) -> dict[str, Any] | None:
    """The card of the judge ``name``, or None: no card, or only of another version or other settings.

    Where the user measured the same configuration, too, those rows stand after the bundled ones.
    Raises: UnknownNameError: no judge has that name.
    """
    current = judges.get(name)().config_hash
    found = [c for c in (_bundled(name), _own(name, current)) if c is not None and c.get("config_hash") == current]
    if len(found) < 2:
        return found[0] if found else None
    first, second = found
    measured = [*first["measured"], *second["measured"]]
    slices = [*first.get("slices", []), *second.get("slices", [])]
    by = " ".join(dict.fromkeys([first["labelled_by"], second["labelled_by"]]))
    return {**first, "measured": measured, "slices": slices, "labelled_by": by, "not_measured": gaps(slices)}


def cards_folder() -> Path:
    """Where the user's cards are: $MTB_CACHE/judge-cards, else in the user's cache folder."""
    return cache_folder() / "judge-cards"


def card_file(name: str, config_hash: str) -> Path:
    """The user's card of one configuration."""
    return cards_folder() / f"{_short(name)}-{config_hash}.json"


def keep_card(made: dict[str, Any]) -> Path:
    """Write ``made`` to the user's cards; rows on its sets, cut to as many words, are replaced, and all others stay."""
    path = card_file(made["judge"], made["config_hash"])
    before = _own(made["judge"], made["config_hash"])
    if before is not None:
        sets = {(row["set"], row.get("truncated_words")) for row in made["measured"]}
        merged = {
            key: [
                *(row for row in before.get(key, []) if (row["set"], row.get("truncated_words")) not in sets),
                *made[key],
            ]
            for key in ("measured", "slices")
        }
        by = " ".join(dict.fromkeys([before["labelled_by"], made["labelled_by"]]))
        made = {**made, **merged, "labelled_by": by, "not_measured": gaps(merged["slices"])}
    write_json(path, made)
    return path


def gaps(slices: Iterable[dict[str, Any]]) -> list[str]:
    """What no row of ``slices`` covers: forms, languages, fine-tuned models, answers that are none."""
    seen = {(row["by"], row["value"]) for row in slices if row["n"]}
    forms = ", ".join(text for form, text in FORMS.items() if ("form", form) not in seen)
    out = [forms] if forms else []
    out += [text for language, text in LANGUAGES.items() if ("language", language) not in seen]
    if ("stage", "tuned") not in seen:
        out.append("answers of fine-tuned models")
    if not {("label", "incoherent"), ("label", "off_task")} <= seen:
        out.append("the coherence gate")
    return out


def _short(name: str) -> str:
    return name.rpartition("@")[2]


def _bundled(name: str) -> dict[str, Any] | None:
    found: dict[str, Any] | None = packaged_json("multitask_bench.judges", "cards", f"{_short(name)}.json")
    return found


def _own(name: str, config_hash: str) -> dict[str, Any] | None:
    path = card_file(name, config_hash)
    if not path.is_file():
        return None
    found = read_json(path)
    if not isinstance(found, dict) or not isinstance(found.get("measured"), list):
        raise DataError(f"{path}: not a judge's card; remove it and measure again.")
    return found
