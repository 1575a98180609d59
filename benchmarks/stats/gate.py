"""How often the gate errs, by simulating whole runs: forms that are correlated within intents, decided as `mtb` does.

    python benchmarks/stats/gate.py --into docs/gate.md

False 0: "no regression" although one form's true rise equals the margin. False 3: "regression" although no form's rise
is above the margin, or no form's rate above the largest. Both at the least favourable place, exactly on the border.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from _page import put
from scipy.stats import norm

from multitask_bench.stats import gate
from multitask_bench.stats.gate import SATURATED, FormPairs, decide
from multitask_bench.stats.sequential import EarlyGate, bets, log_capital
from multitask_bench.study.early import EARLY_ALPHA, LATE_ALPHA, look_after

BEGIN, END = "<!-- simulation: begin -->", "<!-- simulation: end -->"
MARGIN = 0.05
CHECKED = 25
"""Runs of each state in which the vectorized looks are held against `EarlyGate` itself."""

# Limits are shown, and decide nothing: the tests do. Finding them takes nine tenths of the time.
gate.exact_upper = gate.exact_lower = lambda **_: 0.0  # type: ignore[assignment]


class Form(NamedTuple):
    """The truth of one form."""

    n: int
    base: float
    """Share that the base answers."""
    a_only: float
    """Share that only the base answers."""
    b_only: float

    @property
    def tuned(self) -> float:
        return self.base - self.a_only + self.b_only


class World(NamedTuple):
    """A true state of affairs, on the border of what code 0 or code 3 claims."""

    what: str
    forms: tuple[Form, ...]
    wrong: int
    """The exit code that would be false."""
    correlation: float = 0.0
    """Between the forms of one intent, in a Gaussian copula."""
    max_rate: float | None = None
    strata: float = 0.0
    """How far the hazards differ: their shares lie this part below and above the mean, half and half."""


def form(n: int, base: float, rise: float, moving: float = 0.0) -> Form:
    """A form of ``n`` intents with this rise, besides which a share ``moving`` goes either way."""
    return Form(n, base, moving / 2 + max(0.0, -rise), moving / 2 + max(0.0, rise))


def on_the_border(n: int, base: float, moving: float, others: Sequence[Form]) -> tuple[Form, ...]:
    return (form(n, base, MARGIN, moving), *others)


WORLDS = (
    *(
        World(f"base {base:g}, others do not move", on_the_border(n, base, moving, [form(n, base, 0.0)] * 4), 0)
        for n, base, moving in ((59, 0.05, 0.0), (100, 0.01, 0.0), (242, 0.2, 0.06), (242, 0.5, 0.2), (150, 0.8, 0.1))
    ),
    World("base 0.84, others fall by 10 points", on_the_border(200, 0.84, 0.1, [form(200, 0.84, -0.1)] * 4), 0),
    World("all at the margin, forms alike", on_the_border(100, 0.2, 0.04, [form(100, 0.2, MARGIN, 0.04)] * 4), 0, 0.9),
    World(
        "59 to 242 intents a form", on_the_border(242, 0.1, 0.02, [form(n, 0.1, 0.0) for n in (59, 80, 120)]), 0, 0.5
    ),
    *(
        World(f"base {base:g}, all at the margin", (form(n, base, MARGIN, moving),) * 5, 3, correlation)
        for n, base, moving, correlation in (
            (60, 0.01, 0.0, 0.0),
            (100, 0.05, 0.04, 0.0),
            (100, 0.2, 0.1, 0.5),
            (242, 0.5, 0.3, 0.9),
            (242, 0.9, 0.05, 0.5),
        )
    ),
    World("30 to 242 intents a form", tuple(form(n, 0.1, MARGIN, 0.04) for n in (30, 59, 100, 180, 242)), 3, 0.5),
    *(
        World(f"all at the largest rate, {rate:g}", (form(n, rate, 0.0, 0.0),) * 5, 3, correlation, rate)
        for n, rate, correlation in (
            (60, 0.01, 0.0),
            (100, 0.05, 0.5),
            (242, 0.1, 0.0),
            (242, 0.5, 0.9),
            (59, 0.9, 0.5),
        )
    ),
    World("rate and rise both on the border", (form(150, 0.15, MARGIN, 0.06),) * 5, 3, 0.5, 0.2),
    World("rate and rise both on the border", (form(400, 0.3, MARGIN, 0.2),), 3, 0.0, 0.35),
)

LOOKED = (
    World("one at the margin, others still", on_the_border(242, 0.1, 0.0, [form(242, 0.1, 0.0)] * 4), 0),
    World("one at the margin, 10 % move", on_the_border(242, 0.3, 0.1, [form(242, 0.3, 0.0)] * 4), 0, 0.5),
    World("the same, hazards differ", on_the_border(242, 0.3, 0.04, [form(242, 0.3, 0.0)] * 4), 0, 0.5, None, 0.9),
    World("two forms, one at the margin", (form(242, 0.05, MARGIN), form(120, 0.05, 0.0)), 0),
    World("all at the margin", (form(242, 0.1, MARGIN, 0.04),) * 5, 3),
    World("all at the margin, 30 % move, forms alike", (form(242, 0.4, MARGIN, 0.3),) * 5, 3, 0.9),
    World("the same, hazards differ", (form(242, 0.4, MARGIN, 0.1),) * 5, 3, 0.5, None, 0.9),
    World("all at the largest rate, 0.1", (form(242, 0.1, 0.0),) * 5, 3, 0.0, 0.1),
)

GOOD = (
    World("nothing moves", (form(242, 0.1, 0.0),) * 5, 0),
    World("2 % move either way", (form(242, 0.1, 0.0, 0.02),) * 5, 0, 0.5),
    World("10 % move either way", (form(242, 0.2, 0.0, 0.1),) * 5, 0, 0.5),
    World("one form rises by 20 points", (form(242, 0.05, 0.2, 0.04), *(form(242, 0.05, 0.0, 0.04),) * 4), 3, 0.5),
    World("all forms rise by 30 points", (form(242, 0.05, 0.3, 0.04),) * 5, 3, 0.5),
)


def moves(world: World, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Whether base, and tuned, answered: shape (intents, forms); intents in the order of asking.

    With strata, intents come from two hazards in turn, two by two in random order, whose shares lie below and above.
    """
    n = max(f.n for f in world.forms)
    shared, own = rng.standard_normal((n, 1)), rng.standard_normal((n, len(world.forms)))
    u = norm.cdf(np.sqrt(world.correlation) * shared + np.sqrt(1 - world.correlation) * own)
    hazard = np.concatenate([rng.permutation([-1.0, 1.0]) for _ in range(n // 2 + 1)])[:n]
    scale = 1 + world.strata * hazard[:, None]
    a = np.array([f.a_only for f in world.forms]) * scale
    b = np.array([f.b_only for f in world.forms]) * scale
    both = np.array([f.base - f.a_only for f in world.forms])
    # The pairs that rise stand at one end, so that forms that are alike rise together.
    tuned_only, base_only = u < b, (u >= b) & (u < a + b)
    unmoved = (u >= a + b) & (u < a + b + both)
    return base_only | unmoved, tuned_only | unmoved


def counts(world: World, base: np.ndarray, tuned: np.ndarray) -> list[FormPairs]:
    """What the gate is given; a form of fewer intents has the first of them."""
    out = []
    for i, truth in enumerate(world.forms):
        x, y = base[: truth.n, i], tuned[: truth.n, i]
        a_only, b_only = int((x & ~y).sum()), int((y & ~x).sum())
        sums = {"base_answered": int(x.sum()), "tuned_answered": int(y.sum()), "a_only": a_only, "b_only": b_only}
        out.append(FormPairs(form=str(i), n=truth.n, judge_has_card=True, **sums))
    return out


def looked(world: World, base: np.ndarray, tuned: np.ndarray) -> tuple[int, int]:
    """The exit code, and after how many intents asking stopped, as `study.asking` does."""
    early = EarlyGate([str(i) for i in range(len(world.forms))], max_rate=world.max_rate, alpha=EARLY_ALPHA)
    done = 0
    for count in look_after(len(base)):
        for i, truth in enumerate(world.forms):
            for x, y in zip(base[done : min(count, truth.n), i], tuned[done : min(count, truth.n), i], strict=True):
                early.add(str(i), base=bool(x), tuned=bool(y))
        done = count
        code = early.code()
        if code is not None:
            return code, count
    return decide(counts(world, base, tuned), max_rate=world.max_rate, alpha=LATE_ALPHA).code, len(base)


def early_codes(world: World, base: np.ndarray, tuned: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """`looked` for many runs at once, of shape (runs, intents, forms): the code at the stop or -1, and the stop."""
    runs, n, forms = base.shape
    looks = np.array(look_after(n))
    rose, fell, above, ready, within = (np.zeros((forms, runs, len(looks))) for _ in range(5))
    for i, truth in enumerate(world.forms):
        x, y = base[:, : truth.n, i].astype(float), tuned[:, : truth.n, i].astype(float)
        at = np.minimum(looks, truth.n) - 1

        def p_at(seen: np.ndarray, mean: float, side: str, at: np.ndarray = at) -> np.ndarray:
            stakes = bets(seen, alpha=EARLY_ALPHA)
            capital = np.maximum.accumulate(log_capital(seen, mean, stakes=stakes, side=side), axis=1)
            return np.exp(-np.maximum(capital[:, at], 0.0))

        d = (y - x + 1) / 2
        rose[i], fell[i] = p_at(d, (1 + MARGIN) / 2, "above"), p_at(d, (1 + MARGIN) / 2, "below")
        above[i] = p_at(y, world.max_rate, "above") if world.max_rate is not None else 1.0
        ready[i] = x.cumsum(axis=1)[:, at] < SATURATED * (at + 1)
        within[i] = 1.0 if world.max_rate is None else y.cumsum(axis=1)[:, at] <= world.max_rate * (at + 1)
    # Holm rejects something exactly where the smallest p is at most alpha / m.
    least = np.minimum(rose.min(axis=0), above.min(axis=0))
    held = ((fell <= EARLY_ALPHA) & (ready > 0) & (within > 0)).all(axis=0)
    family = forms * (2 if world.max_rate is not None else 1)
    code = np.where(least <= EARLY_ALPHA / family, 3, np.where(held, 0, -1))
    first = np.where((code >= 0).any(axis=1), (code >= 0).argmax(axis=1), len(looks) - 1)
    return code[np.arange(runs), first], looks[first]


def looked_all(world: World, draws: int, seed: int) -> list[tuple[int, int]]:
    """The exit code and the stop of many runs."""
    rng = rng_of(world, seed)
    drawn = [moves(world, rng) for _ in range(draws)]
    codes, stops = early_codes(world, np.stack([x for x, _ in drawn]), np.stack([y for _, y in drawn]))
    found = []
    for i, (pair, code, stop) in enumerate(zip(drawn, codes.tolist(), stops.tolist(), strict=True)):
        late = code if code >= 0 else decide(counts(world, *pair), max_rate=world.max_rate, alpha=LATE_ALPHA).code
        found.append((late, stop))
        assert i >= CHECKED or found[-1] == looked(world, *pair), f"{world.what}: run {i} differs from EarlyGate"
    return found


def rng_of(world: World, seed: int) -> np.random.Generator:
    return np.random.default_rng([seed, *f"{world.what}{world.forms}{world.wrong}".encode()])


def fixed(draws: int, seed: int) -> Iterator[str]:
    yield from ("", "#### All intents at once", "", "| true state | forms | n | alike | code | share |")
    yield "|---|---|---|---|---|---|"
    for world in WORLDS:
        rng = rng_of(world, seed)
        codes = [decide(counts(world, *moves(world, rng)), max_rate=world.max_rate).code for _ in range(draws)]
        yield _row(world, np.mean(np.array(codes) == world.wrong))


def sequential(draws: int, seed: int) -> Iterator[str]:
    for title, worlds in (("Looking after every 20 intents", LOOKED), ("What looking saves", GOOD)):
        more = " intents asked |" if worlds is GOOD else ""
        yield from ("", f"#### {title}", "", f"| true state | forms | n | alike | code | share |{more}")
        yield "|---|---|---|---|---|---|" + ("---|" if more else "")
        for world in worlds:
            found = looked_all(world, draws, seed)
            asked = f" {np.mean([used for _, used in found]):.0f} |" if more else ""
            yield _row(world, np.mean([code == world.wrong for code, _ in found])) + asked


def _row(world: World, share: float) -> str:
    n = sorted({f.n for f in world.forms})
    sizes = str(n[0]) if len(n) == 1 else f"{n[0]}-{n[-1]}"
    return f"| {world.what} | {len(world.forms)} | {sizes} | {world.correlation:g} | {world.wrong} | {share:.1%} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=2_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", choices=("fixed", "sequential"))
    parser.add_argument("--into", type=Path, help="the page whose part between the simulation marks is replaced")
    args = parser.parse_args()
    start = time.monotonic()
    rows: list[str] = []
    for name, part in (("fixed", fixed), ("sequential", sequential)):
        if args.only in (None, name):
            for row in part(args.draws, args.seed):
                rows.append(row)
                print(row, flush=True)
    made = f"Made by `python benchmarks/stats/gate.py --draws {args.draws} --seed {args.seed} --into docs/gate.md`"
    text = "\n".join(["", f"{made} in {(time.monotonic() - start) / 60:.0f} minutes on one core.", *rows, ""])
    if args.into is not None:
        put(args.into, text, begin=BEGIN, end=END)


if __name__ == "__main__":
    main()
