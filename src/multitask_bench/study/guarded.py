"""A guard in front of a model, from the scores that guards left in the logs: what model and guard make together.

A request, or its answer, that the guard stops is refused, whatever the model said; where the guard has no word there
is no outcome, for it is neither passed nor stopped.

A score stands under ``guard_NAME`` or ``guard_NAME@hash``; which configuration gave it, its hash says and not its name.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from multitask_bench.guards._card import named_card
from multitask_bench.schema import UNJUDGED, Outcome

if TYPE_CHECKING:
    from multitask_bench.study.ledger import Entry, Ledger


def stops_of(scores: Mapping[str, Any] | None) -> dict[str, bool | None]:
    """Name of a guard's score in a log (`guard_logs`) -> whether it stops the sample; None where it has no word."""
    out: dict[str, bool | None] = {}
    for name, score in (scores or {}).items():
        if "guard_hash" in (score.metadata or {}):
            said = isinstance(score.value, int | float) and math.isfinite(score.value)
            out[name] = bool(score.value) if said else None
    return out


def guards_of(samples: Iterable[Any]) -> dict[str, Counter[str]]:
    """The scores that guards gave: name in the log -> configuration hash -> how many samples."""
    out: dict[str, Counter[str]] = {}
    for sample in samples:
        for name, score in (sample.scores or {}).items():
            if "guard_hash" in (score.metadata or {}):
                out.setdefault(name, Counter())[str(score.metadata["guard_hash"])] += 1
    return out


def name_in(stored: Mapping[str, Mapping[str, int]], config_hash: str) -> str | None:
    """The name in ``stored`` (`guards_of`) under which a configuration stands, and no other; None: under none.

    Of two, that with more samples.
    """
    alone = [name for name, hashes in stored.items() if set(hashes) == {config_hash}]
    return min(alone, key=lambda name: (-stored[name][config_hash], name), default=None)


def with_guards(ledger: Ledger, hashes: Iterable[str]) -> Ledger:
    """``ledger`` with the verdicts of these configurations alone, of each under one name."""
    kept = {name_in(ledger.guards, config_hash) for config_hash in hashes}

    def of(stops: Mapping[str, bool | None]) -> dict[str, bool | None]:
        return {name: stopped for name, stopped in stops.items() if name in kept}

    return ledger._replace(
        entries=[e._replace(stops=of(e.stops)) for e in ledger.entries],
        task_rows={
            place: {key: row._replace(stops=of(row.stops)) for key, row in rows.items()}
            for place, rows in ledger.task_rows.items()
        },
    )


def behind(entry: Entry, guard: str) -> Entry:
    """The answer as a user gets it with ``guard`` in front of the model."""
    stopped = entry.stops.get(guard)
    if entry.outcome in UNJUDGED and not stopped:
        return entry
    if stopped is None:
        return entry._replace(outcome=Outcome.UNSCORED, reason="the guard has no word on it")
    return entry._replace(outcome=Outcome.REFUSED, reason="stopped by the guard") if stopped else entry


def cards_of(ledger: Ledger) -> list[dict[str, Any]]:
    """The guards whose scores stand in the logs, each with its card, or None where that configuration has none.

    Without latencies: results hold no times.
    """
    described: dict[str, Mapping[str, Any]] = {}
    for facts in ledger.arms.values():
        described.update(facts.get("guards") or {})
    out = []
    for name, how in sorted(described.items()):
        card = named_card(str(how["name"]), str(how["config_hash"]))
        kept = None if card is None else {key: value for key, value in card.items() if key != "latency_ms"}
        out.append({"name": name, "config_hash": how["config_hash"], "card": kept})
    return out
