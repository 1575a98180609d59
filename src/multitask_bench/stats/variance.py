"""How much of the spread of a rate lies in seeds, and how much in intents."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

LEVELS = 5
"""A component with fewer levels is not estimated: of three seeds the range is all that can be told."""


class VarianceSplit(NamedTuple):
    """Variance components of a share in [0, 1], each at least 0; ``rest`` holds interaction and noise."""

    seed: float
    intent: float
    rest: float


def variance_split(table: Sequence[Sequence[float]]) -> VarianceSplit | None:
    """Components of ``table``, one list a seed with one number an intent, by the method of moments.

    The two-way random-effects analysis of variance without replication (Searle, Casella and McCulloch 1992,
    section 4.4). None below five seeds or five intents.
    Raises: ValueError: seeds with different numbers of intents.
    """
    if len(table) < LEVELS or len(table[0]) < LEVELS:
        return None
    if len({len(row) for row in table}) > 1:
        raise ValueError("every seed needs the same intents")
    import numpy as np

    values = np.asarray(table, dtype=float)
    seeds, intents = values.shape
    mean = values.mean()
    rows, columns = values.mean(axis=1), values.mean(axis=0)
    left = values - rows[:, None] - columns[None, :] + mean
    rest = float((left**2).sum() / ((seeds - 1) * (intents - 1)))
    by_seed = float(intents * ((rows - mean) ** 2).sum() / (seeds - 1))
    by_intent = float(seeds * ((columns - mean) ** 2).sum() / (intents - 1))
    return VarianceSplit(max(0.0, (by_seed - rest) / intents), max(0.0, (by_intent - rest) / seeds), rest)
