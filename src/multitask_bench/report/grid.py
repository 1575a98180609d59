"""The tables of a whole study: the matrix, seeds, gaps between forms, calibrations, hazards, deployment, findings.

Where an arm was trained with several seeds, its cell is the mean over seeds with Student's interval and
the range of the seeds. A table without rows means that the run has nothing of the kind.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from multitask_bench.records import Row
from multitask_bench.report._groups import (
    SEPARATOR,
    Calibration,
    Effect,
    Group,
    Spread,
    Spreads,
    calibration_of,
    calibrations,
    effect,
    groups,
    main_calibration,
    main_source,
    policy,
)
from multitask_bench.report._select import Results, form_label, forms, shortened
from multitask_bench.report.summary import p_text, percent, spread_text, whole
from multitask_bench.report.tables import MARKS, Table

LEVELS = 10
"""Steps of the shading, 1 to 10 upwards from nothing."""

COMPONENTS = ("seed", "intent", "rest")
"""Of the variance of a rate; what is left holds interaction and noise."""

MEASURES = {"answered": "answered", "twins_refused": "twins refused"}


class Shaded(NamedTuple):
    """A cell of a heat-map: the figure, what stands under it, and how dark it is.

    ``level`` runs from -10 (a large fall) over 0 to 10 (everything answered, or a large rise); None: nothing measured.
    """

    text: str
    small: str
    level: int | None


class Heat(NamedTuple):
    """A heat-map with numbers: the cells of a row follow its names; ``new`` marks the first row of a group."""

    header: list[str]
    rows: list[tuple[list[str], list[Shaded], bool]]


class _Line(NamedTuple):
    group: Group
    calibration: Calibration
    cells: list[Spread | None]


def columns(results: Results) -> list[str | None]:
    """The forms that were asked, then None for all of them where there are several."""
    found: list[str | None] = list(forms(results))
    return [*found, None] if len(found) > 1 else found


def matrix_table(results: Results, *, twin: bool = False, source: str | None = None) -> Table:
    """The matrix: arms and calibrations down, forms across; answered, or with ``twin`` twins refused."""
    lines = _lines(results, twin=twin, source=source)
    names = _Names([line.group for line in lines])
    rows = [[*names.of(line.group), line.calibration.label, *map(spread_text, line.cells)] for line in lines]
    return Table([*names.header, "asked with", *map(form_label, columns(results))], rows)


def matrix_heat(results: Results, *, twin: bool = False, source: str | None = None) -> Heat:
    """The matrix as a heat-map."""
    lines = _lines(results, twin=twin, source=source)
    names = _Names([line.group for line in lines])
    rows, last = [], ""
    for line in lines:
        cells = [_shaded_rate(cell) for cell in line.cells]
        rows.append(([*names.of(line.group), line.calibration.label], cells, line.group.name != last))
        last = line.group.name
    return Heat([*names.header, "asked with", *map(form_label, columns(results))], rows)


def matrix_caption(results: Results, *, twin: bool = False, source: str | None = None) -> str:
    """What the figures of the matrix are, and over how many probes."""
    lines = _lines(results, twin=twin, source=source)
    what = "harmless twins that were refused" if twin else "harmful probes that were answered"
    text = f"Share of judged {what}, with its 95 % interval"
    if any(len(line.group.arms) > 1 for line in lines):
        text += (
            "; with several seeds the mean over seeds, Student's 95 % interval over seeds, and the range of the seeds"
        )
    sizes = []
    for i, form in enumerate(columns(results)):
        counts = [cell.n for line in lines if (cell := line.cells[i]) is not None and cell.n[1]]
        if counts:
            low, high = min(n for n, _ in counts), max(n for _, n in counts)
            sizes.append((form_label(form), str(low) if low == high else f"{low} to {high}"))
    origin = source if source is not None else main_source(results)
    text += f". Probes of {origin}" if origin else ". Probes"
    if len({size for name, size in sizes if name != "all forms"}) == 1 and len(sizes) > 1:
        total = next((size for name, size in sizes if name == "all forms"), None)
        counted = f"n = {sizes[0][1]} a form" + (f", {total} in all" if total else "")
    else:
        counted = ", ".join(f"{name} n = {size}" for name, size in sizes)
    seeds = " (of each seed)" if any(len(line.group.arms) > 1 for line in lines) else ""
    return f"{text}: {counted}{seeds}. Asked with: template{SEPARATOR}system prompt."


def seeds_table(results: Results, *, every: bool = False) -> Table:
    """Each seed, the mean with its interval, and whether the next arm below can be ranked under it.

    Two neighbours are ranked only where every seed of one lies above every seed of the other and their
    means are further apart than the seeds of either: seeds decide, not the probes of one adapter.
    ``every``: each form and the twins too, not only all forms of the harmful probes, and how the variance
    splits where that was estimated.
    """
    numbers = sorted(
        {seed for item in of_main_source(results, "seeds") for seed in item.get("values") or {}}, key=_by_number
    )
    split = every and any(item.get("variance") for item in of_main_source(results, "seeds"))
    rows = []
    for (measure, calibration, form), block in _seed_blocks(results, every=every):
        ordered = sorted(block, key=lambda item: -(item["mean"] if item.get("mean") is not None else -1.0))
        for item, below in zip(ordered, [*ordered[1:], None], strict=True):
            values = item.get("values") or {}
            where = [calibration.label, *([form_label(form), MEASURES[measure]] if every else [])]
            mean = f"{_share(item.get('mean'))} {_ends(item.get('low'), item.get('high'))}".strip()
            seeds = [_share(values.get(seed)) for seed in numbers]
            last = [ranked(item, below), *([_variance_text(item)] if split else [])]
            rows.append([*where, str(item["group"]), *seeds, mean, _range(item.get("range")), *last])
    where = ["asked with", *(["form", "of"] if every else [])]
    last = ["against the next", *(["variance by seed, intent, rest"] if split else [])]
    return Table([*where, "arm", *(f"seed {seed}" for seed in numbers), "mean", "range", *last], rows)


def variance_table(results: Results) -> Table:
    """How much of the variance of a rate lies in seeds and in intents; only where that was estimated.

    Shares of the three components' sum; the standard deviation over seeds, noise taken off, in points.
    """
    rows = []
    for (measure, calibration, form), block in _seed_blocks(results, every=True):
        for item in block:
            if split := item.get("variance"):
                where = [calibration.label, form_label(form), MEASURES[measure], str(item["group"])]
                spread = f"{100 * math.sqrt(split['seed']):.1f}"
                rows.append([*where, *(_component(split, name) for name in COMPONENTS), spread])
    return Table(["asked with", "form", "of", "arm", *COMPONENTS, "sd over seeds"], rows)


def _variance_text(item: Row) -> str:
    split = item.get("variance")
    if not split:
        return ""
    return ", ".join(parts) if all(parts := [_component(split, name) for name in COMPONENTS]) else "none"


def _component(split: Mapping[str, float], name: str) -> str:
    total = math.fsum(split[one] for one in COMPONENTS)
    return _share(split[name] / total) if total > 0 else ""


def _seed_blocks(results: Results, *, every: bool) -> list[tuple[tuple[str, Calibration, str | None], list[Row]]]:
    """What is ranked among itself: the groups of one model under one calibration, in one form, by one measure."""
    order, asked, only = calibrations(results), columns(results), len(forms(results)) == 1
    blocks: dict[tuple[str, Calibration, str | None, str], list[Row]] = {}
    for item in of_main_source(results, "seeds"):
        form = None if item.get("form") == "all" else item.get("form")
        if every or (item["measure"] == "answered" and (form is None or only)):
            key = (item["measure"], calibration_of(item) or Calibration("native", "none"), form, str(item.get("model")))
            blocks.setdefault(key, []).append(item)

    def place(key: tuple[str, Calibration, str | None, str]) -> tuple[Any, ...]:
        measure, calibration, form, model = key
        known = order.index(calibration) if calibration in order else len(order)
        return (measure, known, asked.index(form) if form in asked else len(asked), model)

    return [(key[:3], blocks[key]) for key in sorted(blocks, key=place)]


def ranked(item: Row, below: Row | None) -> str:
    """Whether ``item`` may be ranked above ``below``, the next lower mean."""
    if below is None:
        return ""
    first, second = item.get("range"), below.get("range")
    if not first or not second or item.get("mean") is None or below.get("mean") is None:
        return f"not ranked: {below['group']}"
    gap = item["mean"] - below["mean"]
    clear = first[0] > second[1] and gap > max(first[1] - first[0], second[1] - second[0])
    return f"above {below['group']}" if clear else f"not ranked: {below['group']}"


def gap_table(results: Results) -> Table:
    """The same intents in another form than text generation: the difference, arms and calibrations down."""
    others, lines = _gap_lines(results)
    names = _Names([group for group, _, _ in lines])
    rows = [[*names.of(g), c.label, *map(effect_text, cells)] for g, c, cells in lines]
    return Table([*names.header, "asked with", *map(form_label, others)], rows)


def gap_heat(results: Results) -> Heat:
    """The gaps between forms as a heat-map."""
    others, lines = _gap_lines(results)
    names = _Names([group for group, _, _ in lines])
    rows, last = [], ""
    for group, calibration, cells in lines:
        labels = [*names.of(group), calibration.label]
        rows.append((labels, [_shaded_effect(cell) for cell in cells], group.name != last))
        last = group.name
    return Heat([*names.header, "asked with", *map(form_label, others)], rows)


def calibration_table(results: Results, *, twin: bool = False) -> Table:
    """What changes for one arm when the same probes are asked under another calibration; forms across."""
    asked, lines = effect_lines(results, twin=twin)
    names = _Names([group for group, _, _ in lines])
    rows = [[*names.of(group), step, *map(effect_text, cells)] for group, step, cells in lines]
    return Table([*names.header, "change of calibration", *map(form_label, asked)], rows)


def calibration_heat(results: Results, *, twin: bool = False) -> Heat:
    """The effects of calibrations as a heat-map."""
    asked, lines = effect_lines(results, twin=twin)
    names = _Names([group for group, _, _ in lines])
    rows, last = [], ""
    for group, step, cells in lines:
        rows.append(([*names.of(group), step], [_shaded_effect(cell) for cell in cells], group.name != last))
        last = group.name
    return Heat([*names.header, "change of calibration", *map(form_label, asked)], rows)


def hazard_table(results: Results, *, calibration: Calibration | None = None) -> Table:
    """Answered by hazard, arms across, under one calibration (the headline's): descriptive, not tested."""
    chosen = calibration or main_calibration(results)
    found: dict[str, dict[str, list[Row]]] = {}
    for item in of_main_source(results, "hazards"):
        if calibration_of(item) == chosen:
            found.setdefault(str(item["hazard"]), {}).setdefault(_group_name(item), []).append(item)
    across = [g for g in groups(results) if any(g.name in by_group for by_group in found.values())]
    rows = []
    for hazard in sorted(found):
        items = [item for by_group in found[hazard].values() for item in by_group]
        sizes = sorted({(int(item["n_intents"]), int(item["n"])) for item in items})
        size = f"{sizes[0][0]} intents, n = {sizes[0][1]}" if len(sizes) == 1 else f"n up to {sizes[-1][1]}"
        rows.append(
            [f"{hazard.replace('_', ' ')} ({size})", *(_hazard_cell(found[hazard].get(g.name)) for g in across)]
        )
    return Table(["answered", *(g.label for g in across)], rows)


def deployment_table(results: Results) -> Table:
    """For each adapter, what it answers under each calibration, and which calibration is the safest.

    The calibration that it was trained with is marked ``=``; twins refused stand beside: the price.
    """
    across = _deployment_calibrations(results)
    rows = []
    for item in of_main_source(results, "deployment"):
        rates = {calibration_of(rate): rate for rate in item.get("rates") or []}
        cells = [_deployed(rates.get(c), same=_as_trained(item, c)) for c in across]
        safest = calibration_of(item.get("safest"))
        verdict = f"{'shown' if item.get('shown') else 'not shown'}, {p_text(item.get('p_holm'))}"
        rows.append([str(item["arm"]), policy(item), *cells, safest.label if safest else "", verdict])
    return Table(["adapter", "trained with", *(c.label for c in across), "safest", "against all others"], rows)


def deployment_heat(results: Results) -> Heat:
    """The same over the seeds of each group: mean, range, and in how many seeds a calibration was the safest."""
    across = _deployment_calibrations(results)
    by_group: dict[str, list[Row]] = {}
    for item in of_main_source(results, "deployment"):
        by_group.setdefault(_group_name(item), []).append(item)
    rows = []
    for name, items in by_group.items():
        cells = []
        for c in across:
            found = [rate for i in items for rate in i.get("rates") or [] if calibration_of(rate) == c]
            cell = _shaded_rate(_mean([rate.get("answered") for rate in found]))
            twins = _mean([rate.get("twins_refused") for rate in found])
            price = f"twins refused {_share(twins.value)}" if twins is not None else ""
            mark = " =" if _as_trained(items[0], c) else ""
            cells.append(Shaded(cell.text + mark, "\n".join(t for t in (cell.small, price) if t), cell.level))
        label = f"{name} ({len(items)} seeds)" if len(items) > 1 else name
        rows.append(([label, policy(items[0]), _safest(items)], cells, True))
    return Heat(["adapter", "trained with", "safest asked with", *(c.label for c in across)], rows)


def deployment_size(results: Results) -> str:
    """How many probes stand behind a rate of the deployment table: ``n = 200``, or from the fewest to the most."""
    items = of_main_source(results, "deployment")
    sizes = {int(rate["n"]) for item in items for rate in item.get("rates") or []}
    return "" if not sizes else f"n = {min(sizes)}" + (f" to {max(sizes)}" if len(sizes) > 1 else "")


def effect_text(cell: Effect | None) -> str:
    """A difference in points: over seeds ``+12 (8 to 17) ▲ 3/3``, of one arm ``+12 [5, 20] ▲``."""
    if cell is None or cell.value is None:
        return ""
    ends = f"({_range(cell.range)})" if cell.range else _ends(cell.low, cell.high)
    return f"{_signed(cell.value)} {ends}".rstrip() + _marks(cell)


def gap_cells(results: Results) -> dict[tuple[str, Calibration, str], Effect]:
    """Group, calibration and form -> the gap to text generation over the seeds of the group."""
    found: dict[tuple[str, Calibration, str], list[Row]] = {}
    for item in of_main_source(results, "gaps"):
        calibration = calibration_of(item)
        assert calibration is not None
        found.setdefault((_group_name(item), calibration, str(item["form"])), []).append(item)
    return {key: cell for key, items in found.items() if (cell := effect(items)) is not None}


def effect_lines(
    results: Results, *, twin: bool
) -> tuple[list[str | None], list[tuple[Group, str, list[Effect | None]]]]:
    """Forms, and for each group and change of calibration the effect in each form."""
    found: dict[tuple[str, str], dict[str | None, list[Row]]] = {}
    for item in of_main_source(results, "calibrations"):
        if bool(item.get("twin")) == twin:
            form = None if item.get("form") in (None, "all") else str(item["form"])
            key = (_group_name(item), step_label(item))
            found.setdefault(key, {}).setdefault(form, []).append(item)
    asked = [f for f in [*forms(results), None] if any(f in cells for cells in found.values())]
    lines = []
    for group in groups(results):
        for (name, step), cells in found.items():
            if name == group.name:
                lines.append((group, step, [effect(cells.get(form, [])) for form in asked]))
    return asked, lines


def step_label(item: Row) -> str:
    """What was changed, and what was held: ``system none → safety, template native``."""
    before, after = calibration_of(item.get("from")), calibration_of(item.get("to"))
    if before is None or after is None:
        return str(item.get("effect"))
    if item.get("effect") == "template":
        return f"template {before.template} → {after.template}, system {shortened(after.system)}"
    return f"system {shortened(before.system)} → {shortened(after.system)}, template {after.template}"


class _Names:
    """The first columns of a grid: the arm; its model and its training policy where they differ among the arms."""

    def __init__(self, shown: Iterable[Group]) -> None:
        every = list(shown)
        self._model = len({g.facts.get("model") for g in every}) > 1
        self._policy = len({g.trained_with for g in every if g.trained_with}) > 1
        self.header = [*(["model"] if self._model else []), "arm", *(["trained with"] if self._policy else [])]

    def of(self, group: Group) -> list[str]:
        model = [str(group.facts.get("model") or "")] if self._model else []
        return [*model, group.label, *([group.trained_with] if self._policy else [])]


def _lines(results: Results, *, twin: bool, source: str | None) -> list[_Line]:
    spreads, asked = Spreads(results, source=source), columns(results)
    out = []
    for group in groups(results):
        for calibration in calibrations(results):
            cells = [spreads.of(group, calibration, form=form, twin=twin) for form in asked]
            if any(cell is not None for cell in cells):
                out.append(_Line(group, calibration, cells))
    models = list(dict.fromkeys(str(line.group.facts.get("model")) for line in out))
    return sorted(out, key=lambda line: models.index(str(line.group.facts.get("model"))))


def _gap_lines(results: Results) -> tuple[list[str], list[tuple[Group, Calibration, list[Effect | None]]]]:
    cells = gap_cells(results)
    others = [form for form in forms(results) if any(key[2] == form for key in cells)]
    lines = []
    for group in groups(results):
        for calibration in calibrations(results):
            line = [cells.get((group.name, calibration, form)) for form in others]
            if any(cell is not None for cell in line):
                lines.append((group, calibration, line))
    return others, lines


def of_main_source(results: Results, section: str) -> list[Row]:
    """The items of a section that are of the headline's source, or name none."""
    source = main_source(results)
    return [item for item in results.get(section) or [] if item.get("source", source) in (source, None)]


def _group_name(item: Row) -> str:
    return str(item.get("group") or item["arm"])


def _shaded_rate(cell: Spread | None) -> Shaded:
    if cell is None or cell.value is None:
        return Shaded("" if cell is None else "not measured", "", None)
    small = ", ".join(t for t in (_ends(cell.low, cell.high), _range(cell.range)) if t)
    return Shaded(_share(cell.value), small, round(LEVELS * cell.value))


def _shaded_effect(cell: Effect | None) -> Shaded:
    if cell is None or cell.value is None:
        return Shaded("", "", None)
    small = _range(cell.range) if cell.range else _ends(cell.low, cell.high)
    # Half of the scale is full colour: few effects are larger than 50 points.
    level = max(-LEVELS, min(LEVELS, round(2 * LEVELS * cell.value)))
    return Shaded(_signed(cell.value) + _marks(cell), small, level)


def _signed(value: float) -> str:
    return f"{size:+d}" if (size := whole(value)) else "0"


def _marks(cell: Effect) -> str:
    if cell.range is None:
        return MARKS[(cell.rises > 0) - (cell.falls > 0)]
    rises = f"{MARKS[1]} {cell.rises}/{cell.seeds}" if cell.rises else ""
    falls = f"{MARKS[-1]} {cell.falls}/{cell.seeds}" if cell.falls else ""
    return rises + falls


def _mean(rates: Sequence[Mapping[str, Any] | None]) -> Spread | None:
    found = [rate for rate in rates if rate and rate.get("value") is not None]
    if not found:
        return None
    if len(found) == 1:
        return Spread(found[0]["value"], found[0].get("low"), found[0].get("high"), "one", {}, (0, 0))
    values = {str(i): float(rate["value"]) for i, rate in enumerate(found)}
    return Spread(sum(values.values()) / len(values), None, None, None, values, (0, 0))


def _hazard_cell(items: Sequence[Row] | None) -> str:
    return spread_text(_mean([item.get("answered") for item in items])) if items else ""


def _deployment_calibrations(results: Results) -> list[Calibration]:
    order = calibrations(results)
    found = {
        c: None
        for item in of_main_source(results, "deployment")
        for rate in item.get("rates") or []
        if (c := calibration_of(rate)) is not None
    }
    return sorted(found, key=lambda c: order.index(c) if c in order else len(order))


def _as_trained(item: Row, calibration: Calibration) -> bool:
    trained = (item.get("train_template"), item.get("train_system"))
    return trained != (None, None) and Calibration(str(trained[0]), str(trained[1] or "none")) == calibration


def _deployed(rate: Row | None, *, same: bool) -> str:
    if rate is None:
        return ""
    text = percent(rate.get("answered"))
    if (rate.get("twins_refused") or {}).get("value") is not None:
        text += f", twins {_share(rate['twins_refused']['value'])}"
    return f"{text} =" if same else text


def _safest(items: Sequence[Row]) -> str:
    counts: dict[str, list[bool]] = {}
    for item in items:
        if (safest := calibration_of(item.get("safest"))) is not None:
            counts.setdefault(safest.label, []).append(bool(item.get("shown")))
    if not counts:
        return "cannot tell"
    if len(items) == 1:
        label, (proved,) = next(iter(counts.items()))
        return f"{label} ({'shown' if proved else 'not shown'})"
    parts = sorted(counts.items(), key=lambda pair: -len(pair[1]))
    return "; ".join(f"{label} in {len(flags)} of {len(items)} seeds, shown in {sum(flags)}" for label, flags in parts)


def _share(value: float | None) -> str:
    return "" if value is None else percent({"value": value, "low": value, "high": value}).split(" [")[0]


def _ends(low: float | None, high: float | None) -> str:
    return f"[{whole(low)}, {whole(high)}]" if low is not None and high is not None else ""


def _range(ends: Sequence[float] | None) -> str:
    return f"{whole(ends[0])} to {whole(ends[1])}" if ends else ""


def _by_number(seed: str) -> tuple[float, str]:
    return (int(seed), "") if seed.lstrip("-").isdigit() else (float("inf"), seed)
