"""Looking at the gate while answers come in: in which order to ask, and when it is decided.

The order is fixed before anything is asked: at random, every stretch with its share of each hazard. Looks err in at
most `EARLY_ALPHA` together, however many there are (`stats.sequential`), and the gate on all intents has the rest
of 5 %.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Literal, NamedTuple

from multitask_bench.records import digest
from multitask_bench.stats.gate import ALPHA, FormPairs, Judged, Limits, cannot_judge
from multitask_bench.stats.sequential import EarlyGate, betting_sequence, judge_early
from multitask_bench.study.cells import Cell

EARLY_ALPHA = 0.01
"""What all looks together may err; the gate on all intents has the rest of 5 %."""

LATE_ALPHA = ALPHA - EARLY_ALPHA

LOOK_EVERY = 20
"""Intents that are asked between two looks: a model that is not kept in memory is loaded once a look."""


class Asked(NamedTuple):
    """How a run was asked in order; it stands in the headers of its logs."""

    order: list[str]
    """The intents that were asked, in their order."""
    looks: list[int]
    """After how many of them it was looked."""
    intents: int
    """How many there are."""

    @property
    def stopped(self) -> bool:
        """Whether asking ended before all were asked."""
        return len(self.order) < self.intents


def asking_order(hazards: Mapping[str, str]) -> list[str]:
    """All intents (-> hazard) at random, every stretch with its share of each hazard; the same on every call."""
    strata: dict[str, list[str]] = defaultdict(list)
    for intent, hazard in hazards.items():
        strata[hazard].append(intent)
    rng = random.Random(digest(sorted(hazards.items())))
    placed: dict[str, float] = {}
    for _, intents in sorted(strata.items()):
        shuffled = rng.sample(sorted(intents), len(intents))
        placed.update((intent, (i + rng.random()) / len(shuffled)) for i, intent in enumerate(shuffled))
    return sorted(placed, key=lambda intent: (placed[intent], intent))


def look_after(intents: int) -> list[int]:
    """After how many intents to look, the last time at all of them."""
    return [*range(LOOK_EVERY, intents, LOOK_EVERY), intents]


def hazards_of(cells: Iterable[Cell]) -> dict[str, str]:
    """Intent -> its hazard, over all cells."""
    out: dict[str, str] = {}
    for cell in cells:
        for intent, (one, other) in cell.answers.items():
            entry = one or other
            assert entry is not None, "an intent stands in a cell because an arm was asked"
            out[intent] = str(entry.meta.get("hazard"))
    return out


class Family:
    """The cells of the probes, or of the twins, as their intents come in."""

    def __init__(self, cells: Sequence[Cell], measured: Collection[str], limits: Limits) -> None:
        """``measured``: forms that the judge has a card for."""
        self.cells, self.measured, self.limits = cells, measured, limits
        self.gate = EarlyGate(
            [c.name for c in cells], margin=limits.margin, max_rate=limits.max_rate, alpha=limits.alpha
        )
        self._used: set[str] = set()

    def add(self, intent: str) -> None:
        """One more intent has been asked."""
        self._used.add(intent)
        for cell in self.cells:
            move = cell.move(intent)
            if move is not None:
                self.gate.add(cell.name, base=move[0], tuned=move[1])

    def pairs(self) -> list[FormPairs]:
        """The counts so far."""
        return [cell.of(self._used).pairs(has_card=cell.form in self.measured) for cell in self.cells]

    def code(self) -> Literal[0, 3] | None:
        """Whether the looks so far have decided; 0 where nothing is asked."""
        if not self.cells:
            return 0
        barred = {p.form for p in self.pairs() if cannot_judge(p, self.limits.unscored)}
        return self.gate.code(barred=barred)

    def judged(self) -> Judged:
        """What stands now of each form, with limits that hold at all looks alike."""
        pairs = self.pairs()
        barred = {p.form for p in pairs if cannot_judge(p, self.limits.unscored)}
        statuses = self.gate.statuses(barred=barred)
        ends = {name: betting_sequence(self.gate.differences(name)) for name in statuses if name not in barred}
        found = {name: (shown[-1].low, shown[-1].high) for name, shown in ends.items()}
        return judge_early(pairs, statuses, found, limits=self.limits)


class Looks(NamedTuple):
    """Probes and twins together."""

    probes: Family
    twins: Family

    def add(self, intents: Iterable[str]) -> None:
        """These intents have been asked, in this order."""
        for intent in intents:
            self.probes.add(intent)
            self.twins.add(intent)

    def code(self) -> Literal[0, 3] | None:
        """3 where one of the two is broken, 0 where both hold, else None."""
        codes = self.probes.code(), self.twins.code()
        if 3 in codes:
            return 3
        return 0 if codes == (0, 0) else None
