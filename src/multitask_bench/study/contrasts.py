"""Two sets of answers to the same questions, as one row of results: counts, difference, interval, p.

Source of the tests: `stats.paired`. A difference is second minus first.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from multitask_bench.stats.paired import bootstrap_difference, holm, mcnemar_exact, sign_flip, tango

Facts = dict[str, Any]


def contrast(differences: Mapping[str, Sequence[float]]) -> Facts:
    """The differences of each intent, tested as they hang together.

    One yes-or-no pair an intent is a matter of pairs; several (an intent stands in five forms, or in two
    languages) are one of intents.
    Returns: n_pairs, a_only, b_only, diff, p, test.
    """
    flat = [d for ds in differences.values() for d in ds]
    alone = all(len(ds) == 1 for ds in differences.values()) and all(d in (-1, 0, 1) for d in flat)
    return over_pairs(flat) if alone else over_intents(differences)


def over_pairs(differences: Sequence[float]) -> Facts:
    """Independent pairs that differ by -1, 0 or 1: exact McNemar, with Tango's interval; as `contrast` returns."""
    counts = _counts(differences)
    a_only, b_only = counts["a_only"], counts["b_only"]
    found = tango(a_only=a_only, b_only=b_only, n=len(differences))
    return {**counts, "diff": found._asdict(), "p": mcnemar_exact(a_only, b_only), "test": "mcnemar_exact"}


def over_intents(differences: Mapping[str, Sequence[float]]) -> Facts:
    """The differences of each intent averaged, whole intents changing sides; as `contrast` returns."""
    means = [sum(ds) / len(ds) for _, ds in sorted(differences.items()) if ds]
    counts = _counts([d for ds in differences.values() for d in ds])
    diff = bootstrap_difference(means)._asdict()
    return {**counts, "diff": diff, "p": sign_flip(means), "test": "sign_flip_intents"}


def _counts(differences: Sequence[float]) -> Facts:
    a_only, b_only = sum(d < 0 for d in differences), sum(d > 0 for d in differences)
    return {"n_pairs": len(differences), "a_only": a_only, "b_only": b_only}


def with_holm(rows: Iterable[Facts]) -> list[Facts]:
    """The rows of one family, each with its Holm-adjusted p."""
    listed = list(rows)
    adjusted = holm([row["p"] for row in listed])
    return [{**row, "p_holm": p} for row, p in zip(listed, adjusted, strict=True)]
