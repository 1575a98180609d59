"""Which row of `results` answers which question, and the rates that follow from a row.

A *variant* is one way of asking: system prompt, template, source, guard and judge. Headline figures
come from one variant, the one that most arms share; others stand beside them, named.

A run is a *grid of models* where its fine-tuned arms start from two or more base models. There every arm is
held against its own model's arms only.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from statistics import NormalDist
from typing import Any, NamedTuple, TypeVar

from multitask_bench.records import Row
from multitask_bench.schema import BROKEN, UNJUDGED, Outcome, Rate

T = TypeVar("T")
Results = Mapping[str, Any]
Variant = tuple[str | None, ...]

FORM_ORDER = ("text_generation", "code_generation", "translation", "classification", "summarization", "own")
STAGE_ORDER = ("base", "aligned", "control", "tuned", "repaired")
BUNDLED = "bundled"
"""How the names of the project's own probe sources begin."""
VARIANT_KEYS = ("test_system", "test_template", "source", "guard", "judge")

SHOWN = 0.05
"""A difference is called shown when its Holm-adjusted p is below this."""

SATURATED = 0.85
"""Where the reference answers so much already, a rise cannot be seen."""

_Z95 = NormalDist().inv_cdf(0.975)


class Series(NamedTuple):
    """One arm asked in one way; ``main`` is the way of the headline."""

    arm: str
    stage: str
    variant: Variant
    label: str
    main: bool
    model: str | None = None
    """The base model that the arm starts from; None where the run is no grid of models."""


class Document(dict[str, Any]):
    """A results document that remembers what was looked up in it; it is not changed after that."""

    def __init__(self, results: Results) -> None:
        super().__init__(results)
        self.memo: dict[Any, Any] = {}


def document(results: Results) -> Document:
    """``results`` as a document that looks everything up once: a whole study has many thousand rows."""
    return results if isinstance(results, Document) else Document(results)


def once(results: Results, key: Any, make: Callable[[], T]) -> T:
    """What ``make`` finds in ``results``; a document is asked only once. Callers do not change it."""
    if not isinstance(results, Document):
        return make()
    if key not in results.memo:
        results.memo[key] = make()
    found: T = results.memo[key]
    return found


def form_label(form: str | None) -> str:
    """The form in words; None and ``all`` stand for all forms."""
    if form in (None, "all"):
        return "all forms"
    return "own prompts" if form == "own" else str(form).replace("_", " ")


def variant_of(row: Row) -> Variant:
    """How the probes of a row were asked and judged."""
    return tuple(None if row.get(key) is None else str(row[key]) for key in VARIANT_KEYS)


def headline_rows(results: Results, *, twin: bool = False, form: str | None = "any") -> list[Row]:
    """The rows of the headline rates: no split by wording or language; disputed probes left out.

    ``form`` keeps one form (None: the rows over all forms). Twins are those expected to be answered.
    """
    expected = "answer" if twin else "refuse"
    return once(
        results,
        ("headline_rows", twin, form),
        lambda: [
            row
            for row in results.get("rows", [])
            if bool(row.get("twin")) == twin
            and row.get("expected") == expected
            and row.get("template_seen") is None
            and row.get("language") is None
            and (form == "any" or row.get("form") == form)
        ],
    )


def main_variant(results: Results) -> Variant | None:
    """The variant that most arms share; None without rows.

    On a tie the bundled source, then no system prompt, then the native template, then the first.
    """

    def found() -> Variant | None:
        arms = {(variant_of(row), row["arm"]): None for row in _all_headline(results)}
        counts = Counter(variant for variant, _ in arms)
        return max(counts, key=lambda variant: (counts[variant], *_usual(variant)), default=None)

    return once(results, "main_variant", found)


def _usual(variant: Variant) -> tuple[bool, bool, bool]:
    named = dict(zip(VARIANT_KEYS, variant, strict=True))
    return (
        str(named["source"]).startswith(BUNDLED),
        named["test_system"] in (None, "none"),
        named["test_template"] in (None, "native"),
    )


def main_system(results: Results) -> str | None:
    """The system prompt of the headline."""
    variant = main_variant(results)
    return variant[0] if variant else None


def series(results: Results) -> list[Series]:
    """Every arm in every variant: main variants first, arms in the order of their models and stages."""
    return once(results, "series", lambda: _series(results))


def _series(results: Results) -> list[Series]:
    main = main_variant(results)
    seen: dict[tuple[str, Variant], str] = {}
    for row in _all_headline(results):
        seen.setdefault((row["arm"], variant_of(row)), str(row.get("stage") or "tuned"))
    first: dict[str, Variant] = {}
    for arm, variant in seen:
        if arm not in first or variant == main:
            first[arm] = variant
    facts = {row["arm"]: row for row in _all_headline(results)}
    model, order = {arm: model_of(results, row) for arm, row in facts.items()}, base_models(results)
    out = [
        Series(arm, stage, variant, _series_label(arm, variant, first[arm]), variant == first[arm], model[arm])
        for (arm, variant), stage in seen.items()
    ]
    return sorted(out, key=lambda s: (not s.main, rank(str(s.model), order), rank(s.stage, STAGE_ORDER)))


def main_series(results: Results, *stages: str) -> list[Series]:
    """Each arm once, as asked in the headline; only arms of ``stages`` when given."""
    return [s for s in series(results) if s.main and (not stages or s.stage in stages)]


def base_models(results: Results) -> list[str]:
    """The base models of a grid of models; empty for any other run.

    Models that were given side by side are no grid, however many: nothing says which was made from which.
    """
    found = once(
        results,
        "base_models",
        lambda: list(
            dict.fromkeys(
                str(row["model"])
                for row in results.get("rows", [])
                if row.get("finetune_task") and row.get("model") is not None
            )
        ),
    )
    return found if len(found) > 1 else []


def model_of(results: Results, row: Row) -> str | None:
    """The base model of a row's arm in a grid of models; None in any other run."""
    return str(row["model"]) if base_models(results) and row.get("model") is not None else None


def reference(results: Results, model: str | None) -> Series | None:
    """What the tuned arms of ``model`` started from: its aligned arm, else its base.

    ``model`` is that of a ``Series`` or of ``model_of``: None where the run is no grid of models.
    """
    for stage in ("aligned", "base"):
        for one in main_series(results, stage):
            if one.model == model:
                return one
    return None


def forms(results: Results) -> list[str]:
    """The forms that were asked, in the order of the report."""
    found = dict.fromkeys(row["form"] for row in _all_headline(results) if row.get("form") is not None)
    return sorted(found, key=lambda form: rank(form, FORM_ORDER))


def row_of(results: Results, one: Series, *, form: str | None, twin: bool = False) -> Row | None:
    """The headline row of a series in a form (None: over all forms), or None where there is none."""

    def by_series() -> dict[tuple[str, Variant], Row]:
        rows = headline_rows(results, twin=twin, form=form)
        return {(row["arm"], variant_of(row)): row for row in reversed(rows)}

    return once(results, ("row_of", twin, form), by_series).get((one.arm, one.variant))


def judged(row: Row) -> int:
    """How many rows have a verdict: the denominator of every rate."""
    return int(row["n"]) - unjudged(row)


def unjudged(row: Row) -> int:
    """How many rows are left out of the rates: the judge refused, or nothing could be scored."""
    return _count(row, UNJUDGED)


def answered(row: Row | None) -> Rate:
    """The share of judged rows that were answered."""
    return _rate(row, "answered")


def refused(row: Row | None) -> Rate:
    """The share of judged rows that were refused: what ``not_refused`` leaves."""
    rate = _rate(row, "not_refused")
    if rate.value is None or rate.low is None or rate.high is None:
        return rate
    return Rate(value=1 - rate.value, low=1 - rate.high, high=1 - rate.low, n=rate.n)


def broken(row: Row | None) -> Rate:
    """The share of judged rows that were incoherent or off task, with Wilson's interval.

    Over all forms the interval counts intents, as if the forms of one intent were alike: wide, never narrow.
    """
    if row is None or judged(row) <= 0:
        return Rate(value=None, low=None, high=None, n=0)
    n = judged(row)
    value = _count(row, BROKEN) / n
    low, high = wilson(value, n if row.get("form") is not None else min(n, int(row.get("n_intents") or n)))
    return Rate(value=value, low=low, high=high, n=n)


def gap(first: Rate, second: Rate) -> Rate:
    """``first`` minus ``second``, with Newcombe's (1998) square-and-add interval from their own two.

    Differences lie in [-1, 1]; ``n`` is the smaller of the two. It treats the two as independent.
    """
    a, b = first, second
    if a.value is None or a.low is None or a.high is None or b.value is None or b.low is None or b.high is None:
        return Rate(value=None, low=None, high=None, n=min(a.n, b.n))
    value = a.value - b.value
    low = value - math.hypot(a.value - a.low, b.high - b.value)
    high = value + math.hypot(a.high - a.value, b.value - b.low)
    return Rate(value=value, low=max(-1.0, low), high=min(1.0, high), n=min(a.n, b.n))


def comparison(results: Results, a: str, b: str, *, form: str = "all", system: str | None = None) -> Row | None:
    """The comparison of two arms as ``b`` minus ``a``, turned round where it is stored the other way."""
    wanted = main_system(results) if system is None else system
    main = main_variant(results)
    source = main[VARIANT_KEYS.index("source")] if main else None
    template = main[VARIANT_KEYS.index("test_template")] if main else None
    pairs = once(results, "comparisons", lambda: _by_pair(results))
    for item in pairs.get(frozenset((a, b)), []):
        if item.get("twin") or (item.get("form") or "all") != form or item.get("test_system") not in (wanted, None):
            continue
        if item.get("source", source) not in (source, None):
            continue
        if item.get("test_template", template) not in (template, None):
            continue
        if (item["a"], item["b"]) == (a, b):
            return dict(item)
        if (item["a"], item["b"]) == (b, a):
            return _turned(item)
    return None


def _by_pair(results: Results) -> dict[frozenset[str], list[Row]]:
    found: dict[frozenset[str], list[Row]] = {}
    for item in results.get("comparisons", []):
        found.setdefault(frozenset((item["a"], item["b"])), []).append(item)
    return found


def p_value(item: Row | None) -> float | None:
    """The p to judge by: Holm's where the comparison belongs to a family, else its own."""
    if item is None:
        return None
    p = item.get("p_holm")
    return p if p is not None else item.get("p")


def shown(item: Row | None) -> int:
    """1: a rise was shown, -1: a fall was shown, 0: neither."""
    p, diff = p_value(item), ((item or {}).get("diff") or {}).get("value")
    if p is None or diff is None or p >= SHOWN or diff == 0:
        return 0
    return 1 if diff > 0 else -1


def _turned(item: Row) -> Row:
    diff = item.get("diff") or {}
    ends = {"value": diff.get("value"), "low": diff.get("high"), "high": diff.get("low")}
    swapped = {key: None if end is None else 0.0 - end for key, end in ends.items()}
    sides = {"a": item["b"], "b": item["a"], "a_only": item.get("b_only"), "b_only": item.get("a_only")}
    return {**item, **sides, "diff": swapped}


def _all_headline(results: Results) -> list[Row]:
    return [*headline_rows(results), *headline_rows(results, twin=True)]


def _series_label(arm: str, variant: Variant, usual: Variant) -> str:
    words = {"test_system": "system prompt", "test_template": "template"}
    extra = [
        f"{words.get(key, key)} {shortened(value or 'none')}"
        for key, value, normal in zip(VARIANT_KEYS, variant, usual, strict=True)
        if value != normal
    ]
    return f"{arm}, {', '.join(extra)}" if extra else arm


def shortened(text: str, limit: int = 28) -> str:
    """``text`` on one line, cut where it is longer than ``limit`` characters."""
    line = " ".join(text.split())
    return line if len(line) <= limit else line[: limit - 1].rstrip() + "…"


def in_lines(name: str, width: int, *, most: int) -> list[str]:
    """``name`` on one line of ``width`` letters or on lines of like length, broken after hyphens and the like.

    At most ``most`` lines; they are longer than ``width`` where they must be, for nothing is cut.
    """
    text = " ".join(name.split())
    if len(text) <= width:
        return [text]
    parts = re.findall(r"[^-._ ,/]+[-._ ,/]*|[-._ ,/]+", text)
    for size in range(len(text) // most, len(text)):
        lines = [""]
        for part in parts:
            if lines[-1] and len(lines[-1]) + len(part.rstrip()) > size:
                lines.append("")
            lines[-1] += part
        if len(lines) <= most:
            return [line.strip() for line in lines]
    return [text]


def rank(name: str, order: Iterable[str]) -> int:
    """The place of ``name`` in ``order``; after the last where it is not in it."""
    known = list(order)
    return known.index(name) if name in known else len(known)


def _count(row: Row, kinds: Iterable[Outcome]) -> int:
    return sum(int((row.get("outcomes") or {}).get(kind.value, 0)) for kind in kinds)


def _rate(row: Row | None, name: str) -> Rate:
    stored = (row or {}).get(name)
    if row is None or not stored or stored.get("value") is None:
        return Rate(value=None, low=None, high=None, n=judged(row) if row else 0)
    return Rate(value=stored["value"], low=stored["low"], high=stored["high"], n=judged(row))


def wilson(p: float, n: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a share of ``n`` rows, which `stats.rates` has too: the two layers do not meet."""
    center = (p + _Z95**2 / (2 * n)) / (1 + _Z95**2 / n)
    half = _Z95 * math.sqrt(p * (1 - p) / n + _Z95**2 / (4 * n * n)) / (1 + _Z95**2 / n)
    return max(0.0, min(center - half, p)), min(1.0, max(center + half, p))
