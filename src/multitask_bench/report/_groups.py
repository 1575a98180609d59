"""Groups: arms that differ in nothing but their seed, and what is said of a group over its seeds.

A *calibration* is a template and a system prompt at test. Rates of a group are means over its seeds;
an arm without sisters is a group of its own, with its own rate and interval.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from multitask_bench.records import Row
from multitask_bench.report._select import (
    BUNDLED,
    STAGE_ORDER,
    VARIANT_KEYS,
    Results,
    answered,
    base_models,
    headline_rows,
    judged,
    main_variant,
    model_of,
    once,
    rank,
    refused,
    shortened,
    shown,
    variant_of,
)

SEPARATOR = " · "
TEMPLATES = ("native", "alpaca")
SYSTEMS = ("none", "safety")


class Calibration(NamedTuple):
    """How an arm was asked: chat template and system prompt."""

    template: str
    system: str

    @property
    def label(self) -> str:
        """Both in a few letters; an own system prompt is cut."""
        return f"{self.template}{SEPARATOR}{shortened(self.system)}"


class Group(NamedTuple):
    """One or more arms that differ in nothing but their seed."""

    name: str
    stage: str
    arms: tuple[str, ...]
    facts: Row
    """What the first of its rows says of the arm: model, task, training policy."""

    @property
    def label(self) -> str:
        """The name, with the number of seeds where there are several."""
        return f"{self.name} ({len(self.arms)} seeds)" if len(self.arms) > 1 else self.name

    @property
    def trained_with(self) -> str:
        """The training policy as template and system prompt; empty for an arm that was not trained here."""
        return policy(self.facts)


class Spread(NamedTuple):
    """A rate over the seeds of a group: mean, interval, and the value of each seed.

    ``interval`` is ``t`` for Student's interval over seeds, ``one`` for the interval of a single arm, None without.
    """

    value: float | None
    low: float | None
    high: float | None
    interval: str | None
    values: Mapping[str, float]
    """Seed -> value; empty for a single arm."""
    n: tuple[int, int]
    """Judged probes an arm: the fewest and the most."""

    @property
    def range(self) -> tuple[float, float] | None:
        """The lowest and the highest seed."""
        return (min(self.values.values()), max(self.values.values())) if self.values else None


class Effect(NamedTuple):
    """A paired difference over the seeds of a group: mean and range, and in how many seeds it was shown."""

    value: float | None
    low: float | None
    """The interval of a single arm; None for several."""
    high: float | None
    range: tuple[float, float] | None
    """The lowest and the highest seed; None for a single arm."""
    rises: int
    falls: int
    seeds: int
    n_pairs: int


def policy(row: Mapping[str, Any], side: str = "train") -> str:
    """The prompt policy of one side in a few letters, or an empty string."""
    template, system = row.get(f"{side}_template"), row.get(f"{side}_system")
    if template is None and system is None:
        return ""
    return Calibration(str(template or "?"), str(system or "none")).label


def groups(results: Results, *stages: str) -> list[Group]:
    """Every group in the order of models and stages; only those of ``stages`` when given."""
    every = once(results, "groups", lambda: _groups(results))
    return [g for g in every if not stages or g.stage in stages]


def _groups(results: Results) -> list[Group]:
    found: dict[str, dict[str, Row]] = {}
    for row in [*headline_rows(results), *headline_rows(results, twin=True)]:
        found.setdefault(str(row.get("group") or row["arm"]), {}).setdefault(row["arm"], row)
    out = []
    for name, arms in found.items():
        facts = next(iter(arms.values()))
        out.append(Group(name, str(facts.get("stage") or "tuned"), tuple(arms), facts))
    order = base_models(results)
    return sorted(out, key=lambda g: (rank(str(model_of(results, g.facts)), order), rank(g.stage, STAGE_ORDER)))


def seeded(results: Results) -> bool:
    """Whether some group has two or more arms."""
    return any(len(g.arms) > 1 for g in groups(results))


def calibrations(results: Results) -> list[Calibration]:
    """Every calibration of the headline's source, guard and judge; the headline's first."""
    return once(results, "calibrations", lambda: _calibrations(results))


def _calibrations(results: Results) -> list[Calibration]:
    main = main_variant(results)
    if main is None:
        return []
    found = {_calibration(row): None for row in _comparable(results, main)}
    first = main_calibration(results)
    return sorted(
        found, key=lambda c: (c != first, rank(c.template, TEMPLATES), rank(c.system, SYSTEMS), c.template, c.system)
    )


def main_calibration(results: Results) -> Calibration | None:
    """The calibration of the headline; None without rows."""
    main = main_variant(results)
    if main is None:
        return None
    named = dict(zip(VARIANT_KEYS, main, strict=True))
    return Calibration(named["test_template"] or "native", named["test_system"] or "none")


def has_matrix(results: Results) -> bool:
    """Whether the run asked under several calibrations or trained with several seeds."""
    return len(calibrations(results)) > 1 or seeded(results)


def sources(results: Results) -> list[str | None]:
    """Where the harmful probes come from, the headline's source first."""
    main = main_source(results)
    found = dict.fromkeys(row.get("source") for row in headline_rows(results))
    return sorted(found, key=lambda s: (s != main, not str(s).startswith(BUNDLED), str(s)))


def main_source(results: Results) -> str | None:
    """The source of the headline."""
    main = main_variant(results)
    return main[VARIANT_KEYS.index("source")] if main else None


class Spreads:
    """The rates of groups, looked up by group, calibration and form; built once a document."""

    def __init__(self, results: Results, *, source: str | None = None) -> None:
        """``source``: other probes than the headline's."""
        main = main_variant(results)
        self._source = main_source(results) if source is None else source
        self._rows: dict[tuple[Any, ...], Row] = {}
        for row in _comparable(results, main, source=self._source) if main else []:
            self._rows.setdefault((row["arm"], _calibration(row), row.get("form"), bool(row.get("twin"))), row)
        self._seeds: dict[tuple[Any, ...], Row] = {}
        for item in results.get("seeds") or []:
            if item.get("source", self._source) in (self._source, None):
                form = None if item.get("form") == "all" else item.get("form")
                self._seeds[(item["group"], _calibration(item), form, item["measure"])] = item

    def of(self, group: Group, calibration: Calibration, *, form: str | None, twin: bool = False) -> Spread | None:
        """Answered (or twins refused) of a group; None where it was not asked so."""
        rows = [r for arm in group.arms if (r := self._rows.get((arm, calibration, form, twin))) is not None]
        rates = [refused(row) if twin else answered(row) for row in rows]
        sizes = [judged(row) for row in rows]
        n = (min(sizes), max(sizes)) if sizes else (0, 0)
        item = self._seeds.get((group.name, calibration, form, "twins_refused" if twin else "answered"))
        if item is not None:
            values = {str(seed): value for seed, value in (item.get("values") or {}).items() if value is not None}
            return Spread(item.get("mean"), item.get("low"), item.get("high"), item.get("interval"), values, n)
        if len(rates) == 1:
            rate = rates[0]
            return Spread(rate.value, rate.low, rate.high, "one", {}, n)
        known = {str(row.get("seed")): r.value for row, r in zip(rows, rates, strict=True) if r.value is not None}
        if not rows:
            return None
        mean = sum(known.values()) / len(known) if known else None
        return Spread(mean, None, None, None, known, n)


def effect(items: Iterable[Row]) -> Effect | None:
    """One difference of the arms of a group, over its seeds; None where none was measured."""
    found = [item for item in items if (item.get("diff") or {}).get("value") is not None]
    if not found:
        return None
    values = [float(item["diff"]["value"]) for item in found]
    alone = len(found) == 1
    return Effect(
        value=sum(values) / len(values),
        low=found[0]["diff"].get("low") if alone else None,
        high=found[0]["diff"].get("high") if alone else None,
        range=None if alone else (min(values), max(values)),
        rises=sum(shown(item) > 0 for item in found),
        falls=sum(shown(item) < 0 for item in found),
        seeds=len(found),
        n_pairs=min(int(item.get("n_pairs") or 0) for item in found),
    )


def _calibration(row: Mapping[str, Any]) -> Calibration:
    return Calibration(str(row.get("test_template") or "native"), str(row.get("test_system") or "none"))


def calibration_of(value: Mapping[str, Any] | None) -> Calibration | None:
    """The calibration in a ``{test_template, test_system}``."""
    return _calibration(value) if value else None


def _comparable(results: Results, main: tuple[str | None, ...], *, source: str | None = None) -> list[Row]:
    """Headline rows under any calibration, of one source and the headline's guard and judge."""
    free = ("test_template", "test_system")
    wanted = {key: value for key, value in zip(VARIANT_KEYS, main, strict=True) if key not in free}
    if source is not None:
        wanted["source"] = source
    rows = [*headline_rows(results), *headline_rows(results, twin=True)]
    return [
        row
        for row in rows
        if all(dict(zip(VARIANT_KEYS, variant_of(row), strict=True))[key] == value for key, value in wanted.items())
    ]
