"""Which answers are labelled, and with what probability each could have been.

What is drawn is a question (a probe in one calibration) and with it the answers of *all* arms, since a difference of
arms is corrected only from labels of both. Within a part of the run a question is drawn with

    probability = quota x (1/2 of an equal share + 1/2 of its share of the doubt), at most 1,

so that none has probability 0 and none a weight above twice that of a plain random sample. The draw is systematic
with unequal probabilities (Madow 1949, Annals of Mathematical Statistics 20, 333-354) from a list in random order
within each form. Three reasons for it:

- the inclusion probabilities are exactly those above, for any quota; with Poisson sampling they would be too, but
  the number of labels in a cell would vary, and a cell needs ten;
- the number of questions is the quota itself, of each form to within one;
- no question is drawn twice, as it would be with replacement, and labour is what an audit is short of.

What it lacks is an unbiased estimate of its own variance. `stats.active` uses the formula for fixed-size draws in
random order, which takes no credit for the balance over forms; `docs/statistics.md` has the coverage.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import NamedTuple

NEEDED = 10
"""Labels below which a cell keeps its uncorrected value."""
PROBES_WANTED, PROBES_MOST = 15, 0.8
"""Questions for the probes of the headline: half of all, more where that is below 15, but at most four of five."""
OTHERS = 0.1
"""Share of questions for all that is not in the headline: other calibrations, other sources, disputed probes."""

PARTS = ("probes", "twins", "others")
"""The headline's probes, their twins, and everything else."""


class Question(NamedTuple):
    """One probe in one calibration, as it was asked of some arms."""

    name: str
    part: str
    form: str
    arms: int
    """How many answers it has."""
    doubt: float
    """How doubtful the judge's verdicts on them are, at least 0."""


def quotas(questions: Sequence[Question], count: int) -> dict[str, float]:
    """How many questions of each part make up about ``count`` answers; never more than the part has."""
    sizes: dict[str, int] = defaultdict(int)
    answers = 0
    for q in questions:
        sizes[q.part] += 1
        answers += q.arms
    if not sizes:
        return {}
    total = min(count * len(questions) / answers, float(len(questions)))
    headline = {part for part in ("probes", "twins") if sizes[part]}
    rest = total if not headline else total * OTHERS if sizes["others"] else 0.0
    share = {"others": rest}
    if len(headline) == 2:
        probes = max(0.5, min(PROBES_MOST, PROBES_WANTED / (total - rest)))
        share |= {"probes": (total - rest) * probes, "twins": (total - rest) * (1 - probes)}
    else:
        share |= dict.fromkeys(headline, total - rest)
    return _fitted({part: share[part] for part in PARTS if sizes[part]}, sizes, total)


def _fitted(share: Mapping[str, float], sizes: Mapping[str, int], total: float) -> dict[str, float]:
    """What a part is too small for goes to the others."""
    out = {part: min(value, float(sizes[part])) for part, value in share.items()}
    for part in out:
        out[part] += min(max(0.0, total - sum(out.values())), sizes[part] - out[part])
    return out


def probabilities(questions: Sequence[Question], count: int) -> dict[str, float]:
    """The probability, above 0 and at most 1, with which each question is drawn: name -> probability."""
    wanted = quotas(questions, count)
    out: dict[str, float] = {}
    for part, quota in wanted.items():
        members = [q for q in questions if q.part == part]
        doubt = sum(q.doubt for q in members)
        equal = 1 / len(members)
        sizes = {q.name: (equal + (q.doubt / doubt if doubt > 0 else equal)) / 2 for q in members}
        out.update(_capped(sizes, quota))
    return out


def _capped(sizes: Mapping[str, float], quota: float) -> dict[str, float]:
    """Probabilities in proportion to ``sizes`` that sum to ``quota``; what would be above 1 is certain."""
    if quota >= len(sizes) - 1e-9:
        return dict.fromkeys(sizes, 1.0)
    certain: set[str] = set()
    while True:
        rest = sum(size for name, size in sizes.items() if name not in certain)
        scale = (quota - len(certain)) / rest if rest > 0 else 0.0
        above = {name for name, size in sizes.items() if name not in certain and size * scale >= 1.0}
        if not above:
            return {name: 1.0 if name in certain else size * scale for name, size in sizes.items()}
        certain |= above


def draw(questions: Sequence[Question], chances: Mapping[str, float], *, seed: int) -> list[str]:
    """The names of the questions drawn, each with its chance; the same for the same questions, chances and seed."""
    out: list[str] = []
    for part in PARTS:
        rng = random.Random(f"{seed}:draw:{part}")
        members = sorted(q.name for q in questions if q.part == part)
        forms = {q.name: q.form for q in questions}
        rng.shuffle(members)
        members.sort(key=lambda name: forms[name])  # stable: random within a form
        out += _systematic(members, chances, start=rng.random())
    return out


def _systematic(names: Sequence[str], chances: Mapping[str, float], *, start: float) -> list[str]:
    """Those on whose stretch of the line of chances a point falls; the points lie one apart, from ``start``."""
    out, end, point = [], 0.0, start
    for name in names:
        end += chances[name]
        if point < end:
            out.append(name)
            point += 1.0
    return out


def shuffled(answers: Sequence[str], *, seed: int) -> list[str]:
    """The order in which answers are shown: random, and the same for every labeller."""
    return random.Random(f"{seed}:order").sample(sorted(answers), len(answers))
