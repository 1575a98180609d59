"""Two sets of answers to the same questions, as one row of results: counts, difference, interval, p.

Source of the tests: `stats.paired`. A difference is second minus first.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from multitask_bench.stats.paired import bootstrap_difference, holm, mcnemar_exact, sign_flip, tango

Facts = dict[str, Any]


def contrast(differences: Mapping[str, Sequence[float]]) -> Facts:
    """The differences of each intent, tested.

    One yes-or-no pair an intent is McNemar's case, with Tango's interval. Several (an intent stands in
    five forms, or in two languages) are averaged first, and whole intents change sides.
    Returns: n_pairs, a_only, b_only, diff, p, test.
    """
    flat = [d for ds in differences.values() for d in ds]
    a_only, b_only = sum(d < 0 for d in flat), sum(d > 0 for d in flat)
    if all(len(ds) == 1 for ds in differences.values()) and all(d in (-1, 0, 1) for d in flat):
        found, p, test = (
            tango(a_only=a_only, b_only=b_only, n=len(flat)),
            mcnemar_exact(a_only, b_only),
            "mcnemar_exact",
        )
    else:
        means = [sum(ds) / len(ds) for _, ds in sorted(differences.items()) if ds]
        found, p, test = bootstrap_difference(means), sign_flip(means), "sign_flip_intents"
    return {
        "n_pairs": len(flat),
        "a_only": a_only,
        "b_only": b_only,
        "diff": {"value": found.value, "low": found.low, "high": found.high},
        "p": p,
        "test": test,
    }


def with_holm(rows: Iterable[Facts]) -> list[Facts]:
    """The rows of one family, each with its Holm-adjusted p."""
    listed = list(rows)
    adjusted = holm([row["p"] for row in listed])
    return [{**row, "p_holm": p} for row, p in zip(listed, adjusted, strict=True)]
