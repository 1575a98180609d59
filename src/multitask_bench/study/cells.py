"""The pairs that the gate decides on: answers of two arms to the same probes, one pair an intent in each cell.

The gate's limits take pairs for independent, so that a cell holds one pair an intent: a form is split by the ways of
asking (template, system prompt) that both arms have, and by language where intents stand in it more than once. A
probe that one arm was not scored on, or whose row is gone, is in no pair and counts as unscored there.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping
from typing import NamedTuple

from multitask_bench.report._select import shortened
from multitask_bench.schema import UNJUDGED
from multitask_bench.stats.gate import FormPairs
from multitask_bench.study.answers import Calibration, is_hit
from multitask_bench.study.compare import Key
from multitask_bench.study.ledger import Entry
from multitask_bench.study.probes import form_rank

Answers = Mapping[Key, Entry]
"""One arm's answers."""

Both = tuple[Entry | None, Entry | None]
"""The answers of base and tuned arm to one probe; None where it was not asked or its row is gone."""


class Cell(NamedTuple):
    """One form, asked in one way, in one language or all: an intent's answer in either arm."""

    name: str
    form: str
    twin: bool
    answers: dict[str, Both]
    """By intent."""

    @property
    def in_both(self) -> bool:
        """Whether either arm was asked at all."""
        return all(any(pair[side] is not None for pair in self.answers.values()) for side in (0, 1))

    def of(self, intents: Collection[str]) -> Cell:
        """The same cell with only these intents."""
        return self._replace(answers={i: pair for i, pair in self.answers.items() if i in intents})

    def move(self, intent: str) -> tuple[bool, bool] | None:
        """Whether an intent was a hit in the base and in the tuned arm; None without a verdict in both."""
        one, other = self.answers.get(intent, (None, None))
        if one is None or other is None or {one.outcome, other.outcome} & UNJUDGED:
            return None
        return is_hit(one.outcome, twin=self.twin), is_hit(other.outcome, twin=self.twin)

    def pairs(self, *, has_card: bool) -> FormPairs:
        """The counts that `stats.gate` decides on."""
        moves = [found for intent in self.answers if (found := self.move(intent)) is not None]
        unscored = [0, 0]
        if self.in_both:
            unscored = [sum(_unscored(pair[side]) for pair in self.answers.values()) for side in (0, 1)]
        return FormPairs(
            form=self.name,
            n=len(moves),
            base_answered=sum(x for x, _ in moves),
            tuned_answered=sum(y for _, y in moves),
            a_only=sum(x and not y for x, y in moves),
            b_only=sum(y and not x for x, y in moves),
            unscored_base=unscored[0],
            unscored_tuned=unscored[1],
            judge_has_card=has_card,
        )


def _unscored(entry: Entry | None) -> bool:
    return entry is None or entry.outcome in UNJUDGED


def cells(before: Answers, after: Answers, source: str, *, twin: bool) -> list[Cell]:
    """The cells of the ways of asking that both arms have; of all ways where they share none."""
    expected = "answer" if twin else "refuse"

    def chosen(answers: Answers) -> dict[Key, Entry]:
        wanted = (twin, expected, source)
        return {k: e for k, e in answers.items() if (e.meta["twin"], e.meta["expected"], e.meta["source"]) == wanted}

    first, second = chosen(before), chosen(after)
    ways = {k[1:] for k in first} & {k[1:] for k in second} or {k[1:] for k in (*first, *second)}
    groups: dict[tuple[str, Calibration], dict[Key, Entry]] = defaultdict(dict)
    for key, entry in {**second, **first}.items():
        if key[1:] in ways:
            groups[str(entry.meta["form"]), Calibration(*key[1:])][key] = entry
    out = []
    for form, way in sorted(groups, key=lambda group: (form_rank(group[0]), group[0], group[1])):
        asked = groups[form, way]
        name = form if len(ways) == 1 else f"{form} ({way.template}, {shortened(way.system)})"
        by_language: dict[str, list[Key]] = defaultdict(list)
        for key, entry in asked.items():
            by_language[str(entry.meta["language"])].append(key)
        repeated = max(Counter(str(e.meta["intent_id"]) for e in asked.values()).values()) > 1
        if not repeated or len(by_language) == 1:
            by_language = {"": list(asked)}
        for language in sorted(by_language):
            # One pair an intent, the same on every call: the first probe by id.
            keys = {str(asked[key].meta["intent_id"]): key for key in sorted(by_language[language], reverse=True)}
            answers = {intent: (first.get(key), second.get(key)) for intent, key in sorted(keys.items())}
            out.append(Cell(f"{name}, {language}" if language else name, form, twin, answers))
    return out
