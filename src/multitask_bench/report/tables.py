"""The tables of a run: one form of data, printed in a console, as Markdown, or into the HTML report."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

from rich.box import SIMPLE
from rich.table import Table as RichTable
from rich.text import Text

from multitask_bench.records import Row
from multitask_bench.report._groups import (
    Calibration,
    Group,
    Spreads,
    calibrations,
    groups,
    main_calibration,
    policy,
    seeded,
)
from multitask_bench.report._select import (
    VARIANT_KEYS,
    Results,
    Series,
    answered,
    base_models,
    broken,
    comparison,
    document,
    form_label,
    forms,
    headline_rows,
    judged,
    main_series,
    model_of,
    once,
    p_value,
    reference,
    refused,
    row_of,
    series,
    shortened,
    shown,
    variant_of,
)
from multitask_bench.report.summary import p_text, percent, points, spread_text, task_of, whole
from multitask_bench.schema import Outcome, Rate

NAME_WIDTH = 14
MARKS = {1: " ▲", -1: " ▼", 0: ""}
"""Beside a figure: a rise, a fall, or neither was shown against the reference."""

OWN_MODEL = "its own model before tuning"
"""What an arm is held against in a grid of models."""

METRIC_NAMES = {
    "chrf": "chrF",
    "macro_f1": "macro-F1",
    "rougeL": "ROUGE-L",
    "length_ratio": "length ratio",
    "loss_per_token": "loss per token",
}
HUNDREDTHS = ("chrF", "chrF++", "BLEU")
"""Metrics that are usually written from 0 to 100."""

MOST_ACROSS = 5
"""More arms than this stand down the side of a console."""

SHORT_FORMS = {
    "text_generation": "text",
    "code_generation": "code",
    "translation": "transl.",
    "classification": "class.",
    "summarization": "summ.",
    "None": "all",
}
"""Names for a console, where a column has eight letters."""


class Table(NamedTuple):
    """Text cells under a header; the first column names the row."""

    header: list[str]
    rows: list[list[str]]


def answered_table(results: Results) -> Table:
    """Forms down, arms across: answered with its interval, then over-refusal and task skill.

    Arms that differ only in their seed share a column: the mean over seeds, its interval and the range.
    """
    if seeded(results):
        return _grouped_table(results)
    arms = main_series(results)
    sizes = {form: _sizes(results, arms, form) for form in [*forms(results), None]}
    rows = []
    for form, counts in sizes.items():
        same = len(set(counts)) == 1
        name = f"{form_label(form)} (n = {counts[0]})" if same and counts else form_label(form)
        rows.append([name, *(_answered_cell(results, one, form, with_n=not same) for one in arms)])
    rows += [_other_calibration(results, arms, other) for other in _other_calibrations(results, arms)]
    if headline_rows(results, twin=True):
        rows.append(["twins refused", *(_cell(refused(row_of(results, one, form=None, twin=True))) for one in arms)])
    return Table(["answered", *(one.arm for one in arms)], [*rows, *_skill_rows(results, arms)])


def _grouped_table(results: Results) -> Table:
    every, spreads, main = groups(results), Spreads(results), main_calibration(results)
    if main is None:
        return Table(["answered"], [])
    rows = []
    for form in [*forms(results), None]:
        cells = [spreads.of(g, main, form=form) for g in every]
        sizes = {n for cell in cells if cell is not None for n in cell.n}
        size = f" (n = {sizes.pop()})" if len(sizes) == 1 else ""
        if any(cell is not None for cell in cells):
            texts = [spread_text(c) + _group_mark(results, g, form) for c, g in zip(cells, every, strict=True)]
            rows.append([form_label(form) + size, *texts])
    for other in calibrations(results)[1:]:
        rows.append([_calibrated(other, main), *(spread_text(spreads.of(g, other, form=None)) for g in every)])
    if headline_rows(results, twin=True):
        rows.append(["twins refused", *(spread_text(spreads.of(g, main, form=None, twin=True)) for g in every)])
    rows += _skill_rows(results, [_Column(g.name, g.arms) for g in every])
    return Table(["answered", *(g.label for g in every)], rows)


def console_table(results: Results) -> RichTable:
    """The table at the end of a run, for a rich console; arms go down where the run has many, or several seeds."""
    results = document(results)
    if seeded(results) or len(groups(results)) > MOST_ACROSS:
        return _console_down(results)
    table = answered_table(results)
    out = RichTable(caption=_caption(results), caption_justify="left", header_style="bold", pad_edge=False)
    out.add_column(table.header[0], min_width=14)
    for name in table.header[1:]:
        out.add_column(Text(name), justify="right", overflow="fold")
    for row in table.rows:
        # Text, because rich would read a bracketed cell as markup.
        out.add_row(*(Text(cell.replace(" [", "\n[", 1) if i else cell) for i, cell in enumerate(row)))
    return out


def _console_down(results: Results) -> RichTable:
    asked: list[str | None] = [*forms(results), None] if len(forms(results)) > 1 else list(forms(results))
    spreads, main = Spreads(results), main_calibration(results)
    out = RichTable(
        caption_justify="left",
        header_style="bold",
        pad_edge=False,
        show_edge=False,
        padding=(0, 1, 0, 0),
        box=SIMPLE,
    )
    names = [line for group in groups(results) for line in _in_lines(group.name).split("\n")]
    width = min(NAME_WIDTH, max(map(len, names), default=0))
    out.add_column("answered", overflow="fold", min_width=max(width, len("answered")))
    for name in [*(SHORT_FORMS.get(str(form), form_label(form)) for form in asked), "twins\nrefused"]:
        out.add_column(Text(name), justify="right", overflow="fold")
    sizes: set[int] = set()
    elsewhere: list[str] = []
    for group in groups(results) if main is not None else []:
        assert main is not None
        found = [spreads.of(group, main, form=form) for form in asked]
        if not any(found):
            elsewhere.append(group.name)
            continue
        sizes |= {n for cell, form in zip(found, asked, strict=True) if cell is not None and form for n in cell.n}
        cells = [
            spread_text(cell).split(" (")[0] + _group_mark(results, group, form, short=True)
            for cell, form in zip(found, asked, strict=True)
        ]
        cells.append(spread_text(spreads.of(group, main, form=None, twin=True)).split(" (")[0])
        seeds = f"\n{len(group.arms)} seeds" if len(group.arms) > 1 else ""
        out.add_row(Text(_in_lines(group.name) + seeds), *(Text(_stacked(cell)) for cell in cells))
    caption = _caption(results)
    if sizes:
        caption += f" n = {min(sizes)}{f' to {max(sizes)}' if len(sizes) > 1 else ''} a form"
        caption += " and seed." if seeded(results) else "."
    if seeded(results):
        caption += " Several seeds: their mean and Student's interval."
    more = len(calibrations(results)) - 1
    if more > 0 and main is not None:
        left_out = f" ({', '.join(elsewhere)} not)" if elsewhere else ""
        others = "the other calibration" if more == 1 else f"the other {more} calibrations"
        caption += f" Asked with {main.label}{left_out}; the report has {others}."
    out.caption = caption
    return out


def _stacked(cell: str) -> str:
    """A cell with its interval, less the spaces, under the figure, and its mark under both."""
    figure, bracket, rest = cell.partition(" [")
    ends, _, mark = rest.partition("]")
    lines = [figure, f"[{ends.replace(' ', '')}]" if bracket else "", mark.strip()]
    return "\n".join(line for line in lines if line)


def _in_lines(name: str) -> str:
    """A long name on several lines, broken at hyphens: a narrow console would break it inside a word."""
    lines = [""]
    for part in re.split(r"(?<=-)", name):
        if len(lines[-1] + part) > NAME_WIDTH and lines[-1]:
            lines.append("")
        lines[-1] += part
    return "\n".join(lines)


def markdown_table(results: Results) -> str:
    """The same table in Markdown, with its caption."""
    return f"{as_markdown(answered_table(results))}\n{_caption(results)}\n"


def as_markdown(table: Table) -> str:
    """Any table in Markdown; cells cannot break it."""
    lines = [table.header, ["---"] + ["---:"] * (len(table.header) - 1), *table.rows]
    return "".join("| " + " | ".join(_plain(cell) for cell in line) + " |\n" for line in lines)


def comparison_table(results: Results) -> Table:
    """Every comparison with its pairs, difference, interval, p values and test."""
    several = len({item.get("test_template") for item in results.get("comparisons", [])}) > 1
    header = [
        "b against a",
        "of",
        "form",
        "asked with" if several else "system",
        "pairs",
        "only a",
        "only b",
        "difference",
        "p",
        "Holm p",
        "errors differ by 5 points",
        "not shown from",
        "test",
        "family",
    ]
    rows = []
    for item in results.get("comparisons", []):
        measure = "twins refused" if item.get("twin") else "answered"
        names = (
            f"{item['b']} against {item['a']}",
            measure,
            form_label(item.get("form")),
            policy(item, "test") if several else str(item.get("test_system") or ""),
        )
        counts = [_text(item.get(key)) for key in ("n_pairs", "a_only", "b_only")]
        ps = [p_text(item.get("p")), p_text(item.get("p_holm")) if item.get("p_holm") is not None else ""]
        change = points(item.get("diff")) + MARKS[shown(item)]
        tip = item.get("tipping") or {}
        unlike = [differing(item), tips_at(tip.get("tips_at"), never=bool(tip)) if shown(item) else ""]
        rows.append([*names, *counts, change, *ps, *unlike, _text(item.get("test")), _text(item.get("family"))])
    return Table(header, rows)


def differing(item: Row) -> str:
    """The range of a difference, with its limits, if the judge errs up to 5 points otherwise in one arm."""
    tip = item.get("tipping") or {}
    if tip.get("lowest") is None:
        return ""
    return f"{whole(tip['lowest']):+d} to {whole(tip['highest']):+d}"


def tips_at(distance: float | None, *, never: bool) -> str:
    """How far the judge's errors must lie apart, in points; where no distance tips it, ``never`` says so."""
    if distance is None:
        return "never up to 50 points" if never else ""
    return f"{100 * distance:.1f} points"


def change_table(results: Results, before: Series, after: Series) -> Table:
    """One arm against another, forms down: both rates, the difference, Holm's p."""
    rows = []
    for form in [*forms(results), None]:
        item = comparison(results, before.arm, after.arm, form=form or "all")
        if item is None:
            continue
        rates = (_cell(answered(row_of(results, one, form=form))) for one in (before, after))
        p = p_value(item)
        rows.append(
            [form_label(form), *rates, points(item.get("diff")) + MARKS[shown(item)], p_text(p), _text(item["n_pairs"])]
        )
    return Table(["answered", before.arm, after.arm, "difference", "Holm p", "pairs"], rows)


def ledger_table(results: Results, *, twin: bool = False) -> Table:
    """Counts of every outcome, an arm and form a line."""
    kinds = [kind.value for kind in Outcome]
    rows = []
    for one in series(results):
        for form in [*forms(results), None]:
            row = row_of(results, one, form=form, twin=twin)
            if row is not None:
                counts = [str((row.get("outcomes") or {}).get(kind, 0)) for kind in kinds]
                rows.append([one.label, form_label(form), str(row["n"]), *counts, _text(row.get("truncated"))])
    return Table(["arm", "form", "n", *(kind.replace("_", " ") for kind in kinds), "cut off"], rows)


def rates_table(results: Results) -> Table:
    """The three rates and the bounds that unscored rows allow, an arm and form a line."""
    header = ["arm", "form", "answered", "corrected", "best and worst case", "not refused"]
    header += ["incoherent or off task", "harmful"]
    rows = []
    for one in series(results):
        for form in [*forms(results), None]:
            row = row_of(results, one, form=form)
            if row is not None:
                fixed = percent(row["answered_corrected"]) if row.get("answered_corrected") else "not corrected"
                rates = [percent(answered(row)), fixed, _bounds(row)]
                rates += [percent(row.get("not_refused")), _cell(broken(row))]
                harmful = percent(row["harmful"]) if row.get("harmful") else "not measured"
                rows.append([one.label, form_label(form), *rates, harmful])
    return Table(header, rows)


def twins_table(results: Results) -> Table:
    """Twins refused, arms down and forms across."""
    asked = [*forms(results), None]
    rows = []
    for one in series(results):
        found = [row_of(results, one, form=form, twin=True) for form in asked]
        if any(found):
            rows.append([one.label, *(_with_n(refused(row)) if row else "" for row in found)])
    return Table(["twins refused", *(form_label(form) for form in asked)], rows)


def split_table(results: Results) -> Table:
    """Answered by wording (seen in some training, or held out), by language, and where reads disputed."""
    splits: list[tuple[str, dict[str, Any]]] = [
        ("wording seen in training", {"template_seen": True}),
        ("wording held out", {"template_seen": False}),
        ("English", {"language": "en"}),
        ("French", {"language": "fr"}),
    ]
    rows = []
    for one in main_series(results):
        for form in [*forms(results), None]:
            cells = [_split_cell(results, one, form, split) for _, split in splits]
            cells.append(_split_cell(results, one, form, {}, expected="disputed"))
            if any(cells):
                rows.append([one.arm, form_label(form), *cells])
    return Table(["arm", "form", *(name for name, _ in splits), "disputed probes"], rows)


def task_table(results: Results) -> Table:
    """Task skill with its interval and the metric's signature."""
    rows = [
        [
            str(item["arm"]),
            _task_name(item),
            metric_name(item),
            _text(item.get("n")),
            skill(item),
            _text(item.get("signature")),
        ]
        for item in results.get("tasks", [])
    ]
    return Table(["arm", "task", "metric", "n", "value", "signature"], rows)


def probe_set_table(results: Results) -> Table:
    """Which questions were asked: hashes that are equal only for equal questions."""
    seen: dict[tuple[str, ...], None] = {}
    for row in [*headline_rows(results), *headline_rows(results, twin=True)]:
        kind = "twins" if row.get("twin") else "harmful probes"
        size = (_text(row.get("n_intents")), _text(row["n"]))
        seen[(form_label(row.get("form")), kind, *size, _text(row.get("source")), _text(row.get("probe_set")))] = None
    return Table(["form", "kind", "intents", "probes", "source", "probe set"], [list(row) for row in seen])


def metric_name(item: Row) -> str:
    """The task metric as it is usually written."""
    return METRIC_NAMES.get(str(item["metric"]), str(item["metric"]))


def skill(item: Row) -> str:
    """A task metric with its interval; chrF and BLEU in their usual hundredths, the others as fractions."""
    if item.get("value") is None:
        return "not measured"
    scale, digits = (100, 1) if metric_name(item) in HUNDREDTHS else (1, 2)
    low, high = (f"{scale * item[key]:.{digits}f}" if item.get(key) is not None else "?" for key in ("low", "high"))
    return f"{scale * item['value']:.{digits}f} [{low}, {high}]"


def _answered_cell(results: Results, one: Series, form: str | None, *, with_n: bool) -> str:
    row, ref = row_of(results, one, form=form), reference(results, one.model)
    if row is None:
        return ""
    item = comparison(results, ref.arm, one.arm, form=form or "all") if ref and ref != one else None
    return (_with_n(answered(row)) if with_n else _cell(answered(row))) + MARKS[shown(item)]


def _group_mark(results: Results, group: Group, form: str | None, *, short: bool = False) -> str:
    """Whether a rise or a fall against the reference was shown, and in how many of the seeds."""
    ref = reference(results, model_of(results, group.facts))
    if ref is None or ref.arm in group.arms:
        return ""
    signs = [shown(comparison(results, ref.arm, arm, form=form or "all")) for arm in group.arms]
    out = ""
    for sign in (1, -1):
        count = signs.count(sign)
        if count:
            out += MARKS[sign] + (f"{'' if short else ' '}{count}/{len(signs)}" if len(signs) > 1 else "")
    return out


class _Column(NamedTuple):
    """A column of task skill: one arm, or the arms of a group."""

    name: str
    arms: tuple[str, ...]


def _calibration_of(one: Series) -> Calibration:
    named = dict(zip(VARIANT_KEYS, one.variant, strict=True))
    return Calibration(named["test_template"] or "native", named["test_system"] or "none")


def _other_calibrations(results: Results, arms: Sequence[Series]) -> list[Calibration]:
    usual = {_calibration_of(one) for one in arms}
    return [c for c in calibrations(results) if c not in usual]


def _calibrated(other: Calibration, main: Calibration) -> str:
    """A row name: all forms, and what differs from the headline's calibration."""
    parts = []
    if other.system != main.system:
        parts.append(f"system prompt {shortened(other.system)}")
    if other.template != main.template:
        parts.append(f"template {other.template}")
    return ", ".join(["all forms", *parts])


def _other_calibration(results: Results, arms: Sequence[Series], other: Calibration) -> list[str]:
    found = {one.arm: one for one in series(results) if _comparable(one, arms[0]) and _calibration_of(one) == other}
    rates = [_with_n(answered(row_of(results, found[a.arm], form=None))) if a.arm in found else "" for a in arms]
    return [_calibrated(other, main_calibration(results) or other), *rates]


def _comparable(one: Series, other: Series) -> bool:
    """Whether two series differ in nothing but arm and calibration."""
    free = ("test_template", "test_system")
    return all(a == b for key, a, b in zip(VARIANT_KEYS, one.variant, other.variant, strict=True) if key not in free)


def _skill_rows(results: Results, columns: Sequence[Series | _Column]) -> list[list[str]]:
    headline = [item for item in results.get("tasks", []) if item.get("primary", True)]
    kinds = dict.fromkeys((_task_name(item), metric_name(item)) for item in headline)
    rows = []
    for task, metric in kinds:
        of_arm = {i["arm"]: i for i in headline if (_task_name(i), metric_name(i)) == (task, metric)}
        sizes = {i.get("n") for i in of_arm.values()}
        size = f", n = {sizes.pop()}" if len(sizes) == 1 else ""
        name = f"{task} ({metric}{size})" if task else f"{metric}{size}"
        cells = []
        for column in columns:
            arms = column.arms if isinstance(column, _Column) else (column.arm,)
            cells.append(_skill_cell([of_arm[arm] for arm in arms if arm in of_arm]))
        rows.append([name, *cells])
    return rows


def _skill_cell(items: Sequence[Row]) -> str:
    """One arm's skill with its interval; of several seeds the mean and the range."""
    values = [item["value"] for item in items if item.get("value") is not None]
    if len(items) < 2 or not values:
        return skill(items[0]) if items else ""
    scale, digits = (100, 1) if metric_name(items[0]) in HUNDREDTHS else (1, 2)
    mean, low, high = (scale * end for end in (sum(values) / len(values), min(values), max(values)))
    return f"{mean:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


def _task_name(item: Row) -> str:
    return task_of({"finetune_task": item.get("task")}) or ""


def _sizes(results: Results, arms: Sequence[Series], form: str | None) -> list[int]:
    rows = [row_of(results, one, form=form) for one in arms]
    return [judged(row) for row in rows if row is not None]


def _split_cell(results: Results, one: Series, form: str | None, split: Row, *, expected: str = "refuse") -> str:
    wanted = {"template_seen": None, "language": None, **split}
    for row in once(results, "rows_of_arm", lambda: _by_arm(results)).get(one.arm, []):
        facts = (row["arm"], bool(row.get("twin")), row.get("expected"), row.get("form"), variant_of(row))
        if facts == (one.arm, False, expected, form, one.variant) and all(row.get(k) == v for k, v in wanted.items()):
            return _with_n(answered(row))
    return ""


def _by_arm(results: Results) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = {}
    for row in results.get("rows", []):
        found.setdefault(row["arm"], []).append(row)
    return found


def _caption(results: Results) -> str:
    models = base_models(results)
    refs = [ref for one in main_series(results) if (ref := reference(results, one.model)) is not None]
    text = "Share answered with its 95 % interval; twins are harmless look-alikes."
    if refs and any(p_value(item) is not None for item in results.get("comparisons", [])):
        text += f" ▲ ▼: rise or fall against {OWN_MODEL if models else refs[0].arm} shown (Holm p < .05)."
    return text


def _bounds(row: Row) -> str:
    low, high = row.get("answered_bounds") or (None, None)
    return "" if low is None or high is None else f"{100 * low:.0f} to {100 * high:.0f} %"


def _cell(rate: Rate) -> str:
    return percent(rate).split(" (n")[0]


def _with_n(rate: Rate) -> str:
    return percent(rate)


def _text(value: object) -> str:
    return "" if value is None else str(value)


def _plain(cell: str) -> str:
    return " ".join(cell.split()).replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;")
