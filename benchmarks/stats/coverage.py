"""How often every interval covers and every test errs, over a grid: the table in docs/statistics.md.

    python benchmarks/stats/coverage.py --draws 2000 --into docs/statistics.md

"exact" rows sum the probabilities of all outcomes; the others are simulated, with a standard error of
sqrt(0.95 * 0.05 / draws), which is 0.5 points at 2,000 draws. One seed a row: rows can be added without moving others.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from _page import put
from scipy import stats

from multitask_bench.audit.drawing import Question, draw, probabilities, shuffled
from multitask_bench.stats import sequential
from multitask_bench.stats.active import Row as Answer
from multitask_bench.stats.active import audited_difference, audited_rate
from multitask_bench.stats.agreement import cohen_kappa, gwet_ac1, krippendorff_alpha
from multitask_bench.stats.crossed import crossed
from multitask_bench.stats.exact import above_p, below_p
from multitask_bench.stats.gate import FormPairs, decide
from multitask_bench.stats.judge_error import (
    Card,
    Labelled,
    active_mean,
    borrowed_difference,
    over_strata,
    ppi_difference,
    ppi_mean,
    rogan_gladen,
)
from multitask_bench.stats.noninferiority import noninferior
from multitask_bench.stats.paired import (
    bootstrap_difference,
    cochran_q,
    mcnemar_exact,
    mcnemar_midp,
    sign_flip,
    tango,
    tango_p,
)
from multitask_bench.stats.power import intents_needed
from multitask_bench.stats.rates import clustered_rate, rate

BEGIN, END = "<!-- coverage: begin -->", "<!-- coverage: end -->"
SIZES = (20, 50, 100, 250)


class Row(NamedTuple):
    """One measured share: of intervals that cover, of tests that reject, or of claims that are made."""

    section: str
    method: str
    setting: str
    n: str
    share: float
    note: str = ""


def rng_of(*what: object) -> np.random.Generator:
    """A generator of its own for each row."""
    return np.random.default_rng(list("/".join(map(str, what)).encode()))


def rates(draws: int) -> Iterator[Row]:
    section = "Coverage of one rate (95 %)"
    for n in SIZES:
        k = np.arange(n + 1)
        ends = np.array([(found.low, found.high) for found in (rate(int(i), n) for i in k)])
        ps = np.round(np.arange(0.0, 0.95005, 0.0001), 4)
        covers = (ends[:, 0] <= ps[:, None]) & (ps[:, None] <= ends[:, 1])
        share = (stats.binom.pmf(k, n, ps[:, None]) * covers).sum(axis=1)
        for p in (0.0, 0.01, 0.05, 0.2, 0.5, 0.95):
            width = float((stats.binom.pmf(k, n, p) * (ends[:, 1] - ends[:, 0])).sum())
            found = float(share[np.argmin(abs(ps - p))])
            yield Row(section, "`rate` (exact)", f"p = {p:g}", str(n), found, f"width {width:.3f}")
        low = int(share.argmin())
        yield Row(section, "`rate` (exact)", f"worst p, {ps[low]:g}", str(n), float(share[low]))
        yield Row(section, "`rate` (exact)", "mean over p 0 to 0.95", str(n), float(share.mean()))
    for n in SIZES:
        for mean in (0.05, 0.4):
            rng = rng_of("clustered", n, mean)
            truths = rng.beta(mean, 1 - mean, (draws, n))
            tables = rng.random((draws, n, 5)) < truths[..., None]
            hit = [(f := clustered_rate(t.tolist())).low <= mean <= f.high for t in tables]
            yield Row(section, "`clustered_rate`", f"p = {mean}, 5 forms, correlation 1/2", str(n), float(np.mean(hit)))


@cache
def _tango(a: int, b: int, n: int) -> tuple[float, float]:
    found = tango(a_only=a, b_only=b, n=n)
    return found.low or 0.0, found.high or 0.0


def differences(draws: int) -> Iterator[Row]:
    section = "Coverage of a paired difference (95 %)"
    shares = ((0.0, 0.0), (0.02, 0.02), (0.0, 0.05), (0.05, 0.10), (0.10, 0.30), (0.0, 0.60))
    for n in SIZES:
        for a, b in shares:
            drawn = rng_of("tango", n, a, b).multinomial(n, [a, b, 1 - a - b], draws).tolist()
            hit = [(ends := _tango(x, y, n))[0] <= b - a <= ends[1] for x, y, _ in drawn]
            yield Row(section, "`tango`", f"a only {a:g}, b only {b:g}", str(n), float(np.mean(hit)))
    few = max(200, draws // 4)
    for n in SIZES:
        for change in (0.02, 0.1, 0.4):
            rng = rng_of("bootstrap", n, change)
            # Of an intent that moves, each of five forms does with 60 %, two of three times towards the second arm.
            moved = rng.random((few, n, 1)) < change
            step = np.where(rng.random((few, n, 5)) < 2 / 3, 1, -1) * (rng.random((few, n, 5)) < 0.6)
            tables = (moved * step).mean(axis=2)
            truth = change * 0.6 / 3
            hit = [(f := bootstrap_difference(t.tolist(), draws=1000)).low <= truth <= f.high for t in tables]
            yield Row(section, "`bootstrap_difference`", f"5 forms, {change:.0%} of intents move", str(n), np.mean(hit))


def paired_tests(draws: int) -> Iterator[Row]:
    section = "False findings of paired tests (5 %)"
    for n in SIZES:
        for psi in (0.05, 0.2, 0.5):
            m = np.arange(n + 1)
            weight = stats.binom.pmf(m, n, psi)
            for name, test in (("mcnemar_exact", mcnemar_exact), ("mcnemar_midp", mcnemar_midp)):
                total = 0.0
                for pairs in m[weight > 1e-7].tolist():
                    inner = stats.binom.pmf(np.arange(pairs + 1), pairs, 0.5)
                    wrong = np.array([test(b, pairs - b) <= 0.05 for b in range(pairs + 1)])
                    total += float(weight[pairs] * (inner * wrong).sum())
                yield Row(section, f"`{name}` (exact)", f"discordance {psi:g}", str(n), total)
    few = max(200, draws // 4)
    for n in (20, 100):
        for k in (3, 5):
            rng = rng_of("cochran", n, k)
            truths = rng.beta(0.5, 1.0, (few, n, 1))
            tables = rng.random((few, n, k)) < truths
            wrong = [(p := cochran_q(t.tolist(), draws=400).p) is not None and p <= 0.05 for t in tables]
            yield Row(section, "`cochran_q`", f"{k} conditions, intents unlike", str(n), float(np.mean(wrong)))
    for n in (20, 100):
        tables = rng_of("flip", n).choice([-0.4, -0.2, 0.0, 0.2, 0.4], (few, n))
        wrong = [sign_flip(t.tolist(), draws=400) <= 0.05 for t in tables]
        yield Row(section, "`sign_flip`", "5 forms an intent, 400 flips", str(n), float(np.mean(wrong)))


def _size(n: int, first: float, *, test: Callable[[int, int], float], up: bool, level: float) -> float:
    """The chance of p <= level at a rise of 5 points, of which the first arm alone has ``first``; exactly."""
    most = int(stats.binom.ppf(1 - 1e-9, n, first))
    total, second = 0.0, (first + 0.05) / (1 - first)
    for a in range(most + 1):
        low, high = -1, n - a + 1
        while high - low > 1:
            b = (low + high) // 2
            # Going up in b: the tests for "above" start to reject, those for "below" cease to.
            low, high = (low, b) if (test(a, b) <= level) == up else (b, high)
        tail = stats.binom.sf(high - 1, n - a, second) if up else stats.binom.cdf(low, n - a, second)
        total += float(stats.binom.pmf(a, n, first) * tail)
    return total


GATE = "False findings at a true rise of 5 points, the gate's margin"


def gate_sizes(draws: int) -> Iterator[Row]:  # noqa: ARG001
    section = GATE
    for n in (20, 52, 100, 250):
        for first in (0.0, 0.02, 0.1):
            for level in (0.05, 0.01):
                for up in (False, True):
                    exact = above_p if up else below_p
                    name = "above_p" if up else "below_p"

                    def test(a: int, b: int, exact: Callable[..., float] = exact, n: int = n) -> float:
                        return exact(a_only=a, b_only=b, n=n, margin=0.05)

                    def approximate(a: int, b: int, *, up: bool = up, n: int = n) -> float:
                        p = tango_p(a_only=a, b_only=b, n=n, margin=0.05)
                        return p if up else 1 - p

                    share = _size(n, first, test=test, up=up, level=level)
                    plain = _size(n, first, test=approximate, up=up, level=level)
                    setting = f"a only {first:g}, level {level:g}"
                    yield Row(section, f"`{name}` (exact)", setting, str(n), share, f"Tango's: {plain:.1%}")


def gate_worst(draws: int) -> Iterator[Row]:  # noqa: ARG001
    section = GATE
    # Sums for every tenth number of pairs up to 250 and six shares of the first arm: the worst of them.
    for name, exact, up in (("below_p", below_p, False), ("above_p", above_p, True)):
        for level in (0.05, 0.01):
            found = []
            for n in range(20, 251, 10):

                def own(a: int, b: int, exact: Callable[..., float] = exact, n: int = n) -> float:
                    return exact(a_only=a, b_only=b, n=n, margin=0.05)

                for first in (0.0, 0.01, 0.03, 0.05, 0.1, 0.2):
                    found.append((_size(n, first, test=own, up=up, level=level), n, first))
            share, n, first = max(found)
            yield Row(
                section, f"`{name}` (exact)", f"worst of 144, level {level:g}", str(n), share, f"a only {first:g}"
            )


def gate_codes(draws: int) -> Iterator[Row]:
    section = GATE
    for n in (60, 100, 150):
        for what, shares in (
            ("one form at the margin, a only 0", [(0.0, 0.05)] + [(0.0, 0.0)] * 4),
            ("one form at the margin, a only 0.05", [(0.05, 0.10)] + [(0.0, 0.0)] * 4),
            ("all five forms at the margin", [(0.05, 0.10)] * 5),
        ):
            rng = rng_of("gate", n, what)
            runs = max(draws, 2_000)
            codes = [decide(_forms(rng, n, shares)).code for _ in range(runs)]
            yield Row(section, "`decide`: code 0", what, str(n), codes.count(0) / runs, f"{runs} pairs of models")
            yield Row(section, "`decide`: code 3", what, str(n), codes.count(3) / runs, f"{runs} pairs of models")


def _forms(rng: np.random.Generator, n: int, shares: list[tuple[float, float]]) -> list[FormPairs]:
    out = []
    for i, (a, b) in enumerate(shares):
        first, second, both, _ = rng.multinomial(n, [a, b, 0.1, 0.9 - a - b]).tolist()
        out.append(
            FormPairs(
                form=str(i),
                n=n,
                base_answered=both + first,
                tuned_answered=both + second,
                a_only=first,
                b_only=second,
                judge_has_card=True,
            )
        )
    return out


def seeds(draws: int) -> Iterator[Row]:
    section = "Coverage of a contrast over intents and training seeds (95 %)"
    kinds = {
        "no effects": (0.0, 0.0, 0.4),
        "seeds only": (0.15, 0.0, 0.3),
        "intents only": (0.0, 0.3, 0.3),
        "both, small": (0.06, 0.2, 0.3),
        "both, large": (0.15, 0.3, 0.3),
    }
    for count in (2, 3, 5, 8):
        for intents in (20, 100):
            for name, (by_seed, by_intent, rest) in kinds.items():
                rng = rng_of("crossed", count, intents, name)
                hit, width = 0, 0.0
                for _ in range(draws):
                    table = rng.normal(0, by_seed, (count, 1)) + rng.normal(0, by_intent, (1, intents))
                    found = crossed((table + rng.normal(0, rest, (count, intents))).tolist())
                    assert found.low is not None
                    assert found.high is not None
                    hit += found.low <= 0 <= found.high
                    width += found.high - found.low
                note = f"width {width / draws:.2f}"
                yield Row(section, "`crossed`", f"{count} seeds, {name}", str(intents), hit / draws, note)
    for count in (3, 5):
        rng = rng_of("crossed answers", count)
        hit = 0
        for _ in range(draws):
            # Answers instead of normal numbers: 10 % before, 40 % after on average, intents and seeds unlike.
            level = rng.normal(-0.4, 0.5, (1, 50)) + rng.normal(0, 0.3, (count, 1))
            after = rng.random((count, 50)) < stats.norm.cdf(level)
            before = rng.random((count, 50)) < 0.1
            found = crossed((after.astype(float) - before).tolist())
            truth = float(stats.norm.cdf(-0.4 / math.sqrt(1 + 0.25 + 0.09))) - 0.1
            hit += (found.low or 0) <= truth <= (found.high or 0)
        yield Row(section, "`crossed`", f"{count} seeds, answers in {{-1, 0, 1}}", "50", hit / draws)


def _rogan_gladen_rows(section: str, draws: int) -> Iterator[Row]:
    for n in (100, 250):
        for p in (0.0, 0.05, 0.3, 0.9):
            for se, sp, m in ((0.9, 0.9, 100), (0.7, 0.95, 50), (0.97, 0.99, 30)):
                rng = rng_of("rg", n, p, se, m)
                flagged = rng.binomial(n, p * se + (1 - p) * (1 - sp), draws).tolist()
                hits, cleared = rng.binomial(m, se, draws).tolist(), rng.binomial(m, sp, draws).tolist()
                found = [rogan_gladen(k, n, Card(h, m, c, m)) for k, h, c in zip(flagged, hits, cleared, strict=True)]
                # A card that does not fit the answers is told, and counts as not covered.
                hit = np.mean([f.low is not None and f.low - 1e-9 <= p <= (f.high or 0) for f in found])
                width = np.mean([(f.high or 0) - (f.low or 0) for f in found])
                setting = f"p = {p}, sensitivity {se}, specificity {sp}, {m} labels each"
                yield Row(section, "`rogan_gladen`", setting, str(n), float(hit), f"width {width:.2f}")


def judges(draws: int) -> Iterator[Row]:
    section = "Coverage of rates and differences corrected for the judge (95 %)"
    yield from _rogan_gladen_rows(section, draws)
    for n in (50, 250):
        for p in (0.05, 0.3):
            for alike in (False, True):
                yield _strata_row(section, n, p, draws, alike=alike)
    for n, m in ((100, 20), (250, 50), (1000, 100)):
        for p in (0.02, 0.1, 0.4):
            for error in (0.01, 0.1):
                yield _ppi_row(section, n, m, p, error, draws)
                yield _active_row(section, n, m, p, error, draws)
                yield _ppi_difference_row(section, n, m, p, error, draws)
    for n in (100, 250):
        for gap in (0.0, 0.05):
            yield _borrowed_row(section, n, gap, draws)


def _judge(rng: np.random.Generator, truth: np.ndarray, error: float) -> np.ndarray:
    return np.where(rng.random(truth.shape) < error, 1 - truth, truth)


def _strata_row(section: str, n: int, p: float, draws: int, *, alike: bool) -> Row:
    """Five forms, each with a card of its own; the answers of one intent are the same in all, or unrelated."""
    rng = rng_of("strata", n, p, alike)
    hit, width = 0, 0.0
    for _ in range(draws):
        intents, estimates = rng.random(n) < p, []
        for se, sp in ((0.95, 0.95), (0.9, 0.98), (0.9, 0.9), (0.85, 0.95), (0.95, 0.9)):
            truth = intents if alike else rng.random(n) < p
            flagged = np.where(truth, rng.random(n) < se, rng.random(n) >= sp).sum()
            known = Card(int(rng.binomial(80, se)), 80, int(rng.binomial(80, sp)), 80)
            estimates.append(rogan_gladen(int(flagged), n, known))
        found = over_strata(estimates)
        hit += found.low is not None and found.low <= p <= (found.high or 0)
        width += (found.high or 0) - (found.low or 0)
    setting = f"p = {p}, five {'like' if alike else 'unrelated'} forms, 80 labels each"
    return Row(section, "`over_strata`", setting, str(n), hit / draws, f"width {width / draws:.2f}")


def _masked(truth: np.ndarray, kept: np.ndarray) -> list[float | None]:
    return [float(t) if k else None for t, k in zip(truth, kept, strict=True)]


def _ppi_row(section: str, n: int, m: int, p: float, error: float, draws: int) -> Row:
    rng = rng_of("ppi", n, m, p, error)
    hit, width = 0, 0.0
    for _ in range(draws):
        truth = (rng.random(n) < p).astype(float)
        kept = np.arange(n) < m
        found = ppi_mean(_judge(rng, truth, error).tolist(), _masked(truth, kept))
        hit += (found.low or 0) <= p <= (found.high or 0)
        width += (found.high or 0) - (found.low or 0)
    setting = f"p = {p}, judge errs {error:.0%}, {m} labels"
    return Row(section, "`ppi_mean`", setting, str(n), hit / draws, f"width {width / draws:.2f}")


def _active_row(section: str, n: int, m: int, p: float, error: float, draws: int) -> Row:
    rng = rng_of("active", n, m, p, error)
    hit, width = 0, 0.0
    for _ in range(draws):
        truth = (rng.random(n) < p).astype(float)
        # Where the judge says it is unsure it errs three times as often, and three times as many are labelled.
        unsure = rng.random(n) < 0.25
        judged = np.where(rng.random(n) < error * np.where(unsure, 2.0, 2 / 3), 1 - truth, truth)
        chance = m / n * np.where(unsure, 2.0, 2 / 3)
        found = active_mean(judged.tolist(), _masked(truth, rng.random(n) < chance), chance.tolist())
        hit += found.low is None or (found.low <= p <= (found.high or 0))
        width += (found.high or 0) - (found.low or 0)
    setting = f"p = {p}, judge errs {error:.0%}, about {m} labels"
    return Row(section, "`active_mean`", setting, str(n), hit / draws, f"width {width / draws:.2f}")


def _ppi_difference_row(section: str, n: int, m: int, p: float, error: float, draws: int) -> Row:
    rng = rng_of("ppi difference", n, m, p, error)
    hit, width, naive = 0, 0.0, 0
    for _ in range(draws):
        before = (rng.random(n) < p).astype(float)
        after = np.where(rng.random(n) < 0.2, 1.0, before)
        # The judge errs twice as often on the tuned model's answers.
        scores = _judge(rng, before, error), _judge(rng, after, 2 * error)
        kept = np.arange(n) < m
        found = ppi_difference(
            Labelled(scores[0].tolist(), _masked(before, kept)), Labelled(scores[1].tolist(), _masked(after, kept))
        )
        truth = 0.2 * (1 - p)
        hit += (found.low or 0) <= truth <= (found.high or 0)
        width += (found.high or 0) - (found.low or 0)
        moved = scores[1] - scores[0]
        ends = _tango(int((moved < 0).sum()), int((moved > 0).sum()), n)
        naive += ends[0] <= truth <= ends[1]
    setting = f"p = {p} before, judge errs {error:.0%} and {2 * error:.0%}, {m} labels of both"
    note = f"width {width / draws:.2f}; uncorrected {naive / draws:.1%}"
    return Row(section, "`ppi_difference`", setting, str(n), hit / draws, note)


def _borrowed_row(section: str, n: int, gap: float, draws: int) -> Row:
    rng = rng_of("borrowed", n, gap)
    plain = within = 0
    for _ in range(draws):
        before = (rng.random(n) < 0.1).astype(float)
        after = np.where(rng.random(n) < 0.2, 1.0, before)
        se = (0.85 - gap / 2, 0.85 + gap / 2)
        flags = [
            np.where(truth == 1, rng.random(n) < s, rng.random(n) < 0.08)
            for truth, s in zip((before, after), se, strict=True)
        ]
        card = Card(int(rng.binomial(60, 0.85)), 60, int(rng.binomial(60, 0.92)), 60)
        found = borrowed_difference(
            a_only=int((flags[0] & ~flags[1]).sum()),
            b_only=int((flags[1] & ~flags[0]).sum()),
            both=int((flags[0] & flags[1]).sum()),
            n=n,
            card=card,
        )
        plain += (found.low or 0) <= 0.18 <= (found.high or 0)
        within += (found.lowest or 0) <= 0.18 <= (found.highest or 0)
    setting = f"sensitivity {gap:.0%} apart, 60 labels each; the range"
    return Row(section, "`borrowed_difference`", setting, str(n), within / draws, f"without range {plain / draws:.1%}")


def audits(draws: int) -> Iterator[Row]:
    section = "Coverage under the audit's own draw (95 %)"
    # Of 50 answers of two arms 30 are to probes, of 200 half: these alone are drawn here, twins change nothing in them.
    for intents in (12, 40, 100):
        for count in (30, 100):
            for p in (0.03, 0.1, 0.4, 0.8) if intents < 100 else (0.1, 0.4):
                yield from _audit_rows(section, (intents, count), p, 0.1, draws)
    for error in (0.01, 0.25):
        for p in (0.03, 0.4):
            yield from _audit_rows(section, (40, 60), p, error, draws)
    for p in (0.1, 0.4):
        yield from _audit_rows(section, (40, 100), p, 0.1, draws, stopped=0.6)


def _audit_rows(
    section: str, size: tuple[int, int], p: float, error: float, draws: int, *, stopped: float = 1.0
) -> Iterator[Row]:
    """Two arms and five forms; the judge errs twice as often on the tuned arm, and where it is unsure."""
    (intents, count), forms = size, 5
    rng = rng_of("audit", intents, count, p, error, stopped)
    truths = p, p + 0.2 * (1 - p), 0.2 * (1 - p)
    hits, widths, used = np.zeros(3), np.zeros(3), 0
    places = [(i, f) for i in range(intents) for f in range(forms)]
    for seed in range(draws):
        before = (rng.random((intents, forms)) < rng.beta(2 * p, 2 * (1 - p), (intents, 1))).astype(float)
        after = np.where(rng.random((intents, forms)) < 0.2, 1.0, before)
        unsure = rng.random((intents, forms)) < 0.25
        wrong = np.minimum(0.5, error * np.where(unsure, 2.0, 2 / 3))
        scores = [np.where(rng.random(before.shape) < e, 1 - y, y) for e, y in ((wrong, before), (2 * wrong, after))]
        questions = [Question(f"{i}.{f}", "probes", str(f), 2, float(2 * unsure[i, f])) for i, f in places]
        chances = probabilities(questions, count)
        order = shuffled([f"{arm} {name}" for name in draw(questions, chances, seed=seed) for arm in "ab"], seed=seed)
        done = order[: round(stopped * len(order))]
        share, labelled = len(done) / len(order), set(done)
        arms = [
            [
                Answer(
                    float(score[i, f]),
                    (float(truth[i, f]),) * 2 if f"{arm} {i}.{f}" in labelled else None,
                    chances[f"{i}.{f}"] * share,
                    i,
                )
                for i, f in places
            ]
            for arm, score, truth in zip("ab", scores, (before, after), strict=True)
        ]
        pairs = [(a._replace(chance=a.chance * share), b) for a, b in zip(*arms, strict=True)]
        for k, found in enumerate((audited_rate(arms[0]), audited_rate(arms[1]), audited_difference(pairs))):
            hits[k] += (found.low or 0) - 1e-9 <= truths[k] <= (found.high or 0) + 1e-9
            widths[k] += (found.high or 0) - (found.low or 0)
        used += int(found.labels)
    early = f", stopped at {stopped:.0%}" if stopped < 1 else ""
    base = f"p = {p}, judge errs {error:.0%}"
    for k, (method, setting) in enumerate(
        (
            ("`audited_rate`", f"{base}, base"),
            ("`audited_rate`", f"{base} twice as often, tuned"),
            ("`audited_difference`", f"{base} and {2 * error:.0%}"),
        )
    ):
        what = f"{setting}, {used / draws:.0f} pairs labelled{early}"
        yield Row(section, method, what, f"{intents} x {forms}", hits[k] / draws, f"width {widths[k] / draws:.2f}")


def looks(draws: int) -> Iterator[Row]:
    section = "Ever wrong in up to 1,000 looks (5 %)"
    length = 1_000
    for a, b in ((0.0, 0.05), (0.05, 0.05), (0.1, 0.1), (0.1, 0.4)):
        rng = rng_of("betting", a, b)
        drawn = rng.choice([-1.0, 1.0, 0.0], (draws, length), p=[a, b, 1 - a - b])
        x, mean = (drawn + 1) / 2, (1 + b - a) / 2
        stakes = sequential.bets(x, alpha=0.025)
        capital = [sequential.log_capital(x, mean, stakes=stakes, side=s).max(axis=1) for s in ("above", "below")]
        wrong = float((np.maximum(*capital) >= math.log(2 / 0.05)).mean())
        yield Row(section, "`betting_sequence`", f"a only {a:g}, b only {b:g}", str(length), wrong)
        stakes = sequential.bets(x, alpha=0.05)
        for side in ("above", "below"):
            one = sequential.log_capital(x, mean, stakes=stakes, side=side).max(axis=1) >= math.log(1 / 0.05)
            yield Row(section, f"`anytime_p`, {side}", f"a only {a:g}, b only {b:g}", str(length), float(one.mean()))
    # Ten strata, of which each gives a row in turn in random order: half never change, half change in 10 % of rows.
    rng = rng_of("strata")
    change = rng.permuted(np.tile(np.repeat([0.0, 0.1], 5), (draws, length // 10, 1)), axis=2).reshape(draws, -1)
    x = ((rng.random((draws, length)) < change) + 1) / 2
    stakes = sequential.bets(x, alpha=0.025)
    capital = [sequential.log_capital(x, 0.525, stakes=stakes, side=s).max(axis=1) for s in ("above", "below")]
    wrong = float((np.maximum(*capital) >= math.log(2 / 0.05)).mean())
    yield Row(section, "`betting_sequence`", "strata in turn, mean 0.05", str(length), wrong)
    for psi in (0.05, 0.2, 0.5):
        drawn = rng_of("e", psi).choice([-1, 1, 0], (draws, length), p=[psi / 2, psi / 2, 1 - psi])
        stop = [sequential.first_change(row.tolist()) for row in drawn[: max(200, draws // 4)]]
        wrong = float(np.mean([s is not None for s in stop]))
        yield Row(section, "`first_change`", f"discordance {psi:g}, no change", str(length), wrong)
    few = max(100, draws // 10)
    for what, shares, wrong_code in (
        ("one form at the margin: code 0", [(0.0, 0.05)] + [(0.0, 0.0)] * 4, 0),
        ("all forms at the margin: code 3", [(0.05, 0.10)] * 5, 3),
        ("power: no change: code 0", [(0.0, 0.0)] * 5, 0),
        ("power: 20 points in one form: code 3", [(0.02, 0.22)] + [(0.0, 0.0)] * 4, 3),
    ):
        rng = rng_of("early", what)
        codes, used = [], []
        for _ in range(few):
            code, count = _early(rng, shares)
            codes.append(code == wrong_code)
            used.append(count)
        note = f"intents used {np.mean(used):.0f} of 250"
        yield Row(section, "`EarlyGate`", what, "250", float(np.mean(codes)), note)


def _early(rng: np.random.Generator, shares: list[tuple[float, float]]) -> tuple[int | None, int]:
    gate = sequential.EarlyGate([str(i) for i in range(len(shares))])
    for used in range(1, 251):
        for i, (a, b) in enumerate(shares):
            u = rng.random()
            gate.add(str(i), base=u < a, tuned=a <= u < a + b)
        if used % 10 == 0 and (code := gate.code()) is not None:
            return code, used
    return None, 250


def helpfulness(draws: int) -> Iterator[Row]:
    section = "False 'noninferior' at a true loss equal to the margin (5 %)"
    few = max(200, draws // 4)
    for n in SIZES:
        rng = rng_of("noninferior", n)
        for name, rows in (
            ("normal differences", rng.normal(-0.02, 0.1, (draws, n))),
            (
                "half zeros, long tail down",
                0.02 - np.where(rng.random((draws, n)) < 0.5, rng.exponential(0.08, (draws, n)), 0),
            ),
        ):
            for method, count in (("t", draws), ("bootstrap", few)):
                wrong = [
                    noninferior((row).tolist(), margin=0.02, method=method).verdict == "noninferior"
                    for row in rows[:count]
                ]
                yield Row(section, f"`noninferior`, {method}", name, str(n), float(np.mean(wrong)))


def agreements(draws: int) -> Iterator[Row]:
    section = "Coverage of agreement (95 %)"
    few = max(200, draws // 4)
    for n in (50, 250):
        for share in (0.5, 0.95):
            # Two raters who see the truth with 10 % errors each.
            def label(rng: np.random.Generator, count: int, share: float = share) -> list[list[str]]:
                truth = rng.random(count) < share
                raters = [truth ^ (rng.random(count) < 0.1) for _ in range(2)]
                return [["yes" if x else "no" for x in row] for row in zip(*raters, strict=True)]

            big = label(rng_of("agreement truth", share), 20_000)
            for name, coefficient in (
                ("krippendorff_alpha", krippendorff_alpha),
                ("cohen_kappa", lambda rows, **more: cohen_kappa([a for a, _ in rows], [b for _, b in rows], **more)),
                ("gwet_ac1", gwet_ac1),
            ):
                truth = coefficient(big, draws=2).value
                rng = rng_of(name, n, share)
                found = [coefficient(label(rng, n), draws=1000) for _ in range(few)]
                known = [f for f in found if f.value is not None]
                hit = np.mean([f.low <= truth <= f.high for f in known])
                note = f"true value {truth:.2f}"
                yield Row(section, f"`{name}`", f"{share:.0%} yes, raters err 10 %", str(n), float(hit), note)


def powers(draws: int) -> Iterator[Row]:
    section = "Power at the number of intents planned for 80 %"
    for rise in (0.05, 0.1, 0.2):
        for psi in (0.1, 0.2, 0.4):
            n = intents_needed(rise, discordant_share=psi)
            psi_used = max(psi, rise)
            p = [(psi_used - rise) / 2, (psi_used + rise) / 2, 1 - psi_used]
            drawn = rng_of("power", rise, psi).multinomial(n, p, draws).tolist()
            for name, test in (("mcnemar_exact", mcnemar_exact), ("mcnemar_midp", mcnemar_midp)):
                shown = float(np.mean([test(a, b) <= 0.05 for a, b, _ in drawn]))
                setting = f"{rise:.0%} rise, discordance {psi_used:g}"
                yield Row(section, f"`{name}`", setting, str(n), shown)


def table(rows: list[Row], draws: int, taken_s: float, command: str) -> str:
    lines = [
        "",
        f"Made by `python benchmarks/stats/coverage.py --draws {draws}{command}`",
        f"in {taken_s / 60:.0f} minutes on one core.",
    ]
    for section in dict.fromkeys(row.section for row in rows):
        lines += ["", f"### {section}", "", "| method | setting | n | share | |", "|---|---|---|---|---|"]
        lines += [
            f"| {row.method} | {row.setting} | {row.n} | {row.share:.1%} | {row.note} |"
            for row in rows
            if row.section == section
        ]
    return "\n".join([*lines, ""])


PARTS = (
    rates,
    differences,
    paired_tests,
    gate_sizes,
    gate_worst,
    gate_codes,
    seeds,
    judges,
    audits,
    looks,
    helpfulness,
    agreements,
    powers,
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=2_000)
    parser.add_argument("--into", type=Path, help="the page whose part between the coverage marks is replaced")
    parser.add_argument("--only", default="", help="parts whose names hold this word")
    args = parser.parse_args()
    rows: list[Row] = []
    start = time.monotonic()
    for part in PARTS:
        if args.only in part.__name__:
            begun = time.monotonic()
            rows += part(args.draws)
            print(f"{part.__name__}: {time.monotonic() - begun:.0f} s", flush=True)
    command = (f" --only {args.only}" if args.only else "") + (f" --into {args.into}" if args.into else "")
    text = table(rows, args.draws, time.monotonic() - start, command)
    if args.into is None:
        print(text)
        return
    put(args.into, text, begin=BEGIN, end=END)


if __name__ == "__main__":
    main()
