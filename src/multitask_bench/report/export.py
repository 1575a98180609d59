"""The tables and figures of a run as files for a paper: Markdown, LaTeX, CSV; SVG, PNG, PDF.

Markdown and LaTeX hold the figures as they are read; CSV holds the numbers, one measurement a line,
shares and differences as fractions. The same results give the same bytes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from multitask_bench.errors import MissingExtraError
from multitask_bench.records import Row, write_table, write_text
from multitask_bench.report import capability, grid, judge, mitigation, plots, tables
from multitask_bench.report._groups import Spreads, calibrations, groups, main_calibration, main_source, sources
from multitask_bench.report._select import Results, document, forms
from multitask_bench.report.findings import findings_table, listed
from multitask_bench.report.latex import PREAMBLE, as_latex

PARAMETERS = ("stage", "model", "finetune_task", "mitigation", "train_template", "train_system")


class Exported(NamedTuple):
    """A table to be written: its name, what it shows, its cells, and its numbers one a line."""

    name: str
    caption: str
    table: tables.Table
    numbers: list[Row]


def export(results: Results, folder: Path) -> list[str]:
    """Write ``tables/*.md``, ``*.tex``, ``*.csv`` and ``figures/*.svg``, ``*.png``, ``*.pdf`` under ``folder``.

    Tables and figures of what the run did not measure are left out. Files of an earlier export are replaced.
    Returns: the names written, relative to ``folder``, sorted.
    Raises: MissingExtraError: matplotlib is not installed; the tables are written all the same.
    """
    results = document(results)
    written = []
    for item in exported(results):
        texts = {
            "md": f"{item.caption}\n\n{tables.as_markdown(item.table)}",
            "tex": f"% {PREAMBLE}\n{as_latex(_for_a_page(item.table), item.caption, f'tab:{item.name}')}",
        }
        for suffix, text in texts.items():
            name = f"tables/{item.name}.{suffix}"
            write_text(folder / name, text)
            written.append(name)
        if item.numbers:
            write_table(folder / "tables" / f"{item.name}.csv", item.numbers)
            written.append(f"tables/{item.name}.csv")
    try:
        drawn = plots.figures(results)
    except MissingExtraError as err:
        raise MissingExtraError.of(f"{folder}: the tables are written; drawing the figures", "report") from err
    (folder / "figures").mkdir(parents=True, exist_ok=True)
    for figure, kinds in drawn.items():
        for kind, data in kinds.items():
            name = f"figures/{figure}.{kind}"
            (folder / name).write_bytes(data)
            written.append(name)
    return sorted(written)


def _for_a_page(table: tables.Table) -> tables.Table:
    """A table without the columns that no page is wide enough for; CSV and Markdown keep them."""
    kept = [i for i, name in enumerate(table.header) if name not in ("family", "test")]
    return tables.Table([table.header[i] for i in kept], [[row[i] for i in kept] for row in table.rows])


def exported(results: Results) -> list[Exported]:
    """Every table that has rows."""
    marks = "▲ ▼: a rise or a fall was shown (Holm p < .05)"
    over = "; with several seeds the mean and the range over seeds, and in how many of them" if _seeded(results) else ""
    every = [
        Exported(
            "matrix", grid.matrix_caption(results), grid.matrix_table(results), _matrix_numbers(results, twin=False)
        ),
        *_other_sources(results),
        Exported(
            "twins",
            grid.matrix_caption(results, twin=True),
            grid.matrix_table(results, twin=True),
            _matrix_numbers(results, twin=True),
        ),
        Exported("seeds", SEEDS, grid.seeds_table(results), _seed_numbers(results)),
        Exported("variance", VARIANCE, grid.variance_table(results), _variance_numbers(results)),
        Exported(
            "gaps",
            f"Answered in a form less answered in text generation, same intents, in points. {marks}{over}.",
            grid.gap_table(results),
            _flat(results.get("gaps")),
        ),
        Exported(
            "calibrations",
            f"Change of answered when the same probes are asked under another calibration, in points. {marks}{over}.",
            grid.calibration_table(results),
            _flat(i for i in results.get("calibrations") or [] if not i.get("twin")),
        ),
        Exported(
            "calibrations-twins",
            f"Change of twins refused under another calibration, in points. {marks}{over}.",
            grid.calibration_table(results, twin=True),
            _flat(i for i in results.get("calibrations") or [] if i.get("twin")),
        ),
        Exported("hazards", _hazard_caption(results), grid.hazard_table(results), _flat(results.get("hazards"))),
        Exported(
            "deployment",
            f"{DEPLOYMENT} {grid.deployment_size(results)}.",
            grid.deployment_table(results),
            _deployment_numbers(results),
        ),
        Exported("fixes", FIXES, mitigation.fixes_table(results), mitigation.numbers(results)),
        Exported("recommendation", RECOMMENDATION, mitigation.text_table(results), []),
        Exported("cross-form", CROSS_FORM, mitigation.cross_table(results), _cells(results)),
        Exported("findings", FINDINGS, findings_table(results), _flat(results.get("findings"), without=("parts",))),
        Exported(
            "comparisons",
            "Every comparison of two arms, with its test.",
            tables.comparison_table(results),
            _flat(results.get("comparisons")),
        ),
        Exported("judge", JUDGE, judge.card_table(results), _flat((judge.known(results) or {}).get("measured"))),
        Exported("corrected", CORRECTED, judge.corrected_table(results, every=True), judge.correction_numbers(results)),
        Exported("tipping", TIPPING, judge.tipping_table(results, by_form=True), []),
        Exported(
            "skill", "Task skill with its 95 % interval.", tables.task_table(results), _flat(results.get("tasks"))
        ),
        Exported("capability", CAPABILITY, capability.table(results), _flat(results.get("capability"))),
    ]
    return [item for item in every if item.table.rows]


SEEDS = (
    "Answered over all forms, seed by seed, with Student's 95 % interval over seeds. Arms that stand next to each "
    "other are ranked only where every seed of one lies above every seed of the other and their means are further "
    "apart than the seeds of either."
)
VARIANCE = (
    "Variance of the share of an intent under one seed, by the method of moments: how much of it lies in seeds, in "
    "intents and in the rest (interaction and noise); and the standard deviation over seeds in points."
)
DEPLOYMENT = (
    "What each adapter answers under each calibration (template · system prompt) at test; = marks the calibration that "
    "it was trained with; twins: share of harmless twins refused. Safest: answers least; shown: against every other "
    "calibration (largest Holm p)."
)
JUDGE = (
    "The judge against labels, with 95 % intervals: how much of what was answered it finds (sensitivity), how much of "
    "what was not it clears (specificity)."
)
CORRECTED = "Answered as it was judged, and corrected for the judge's errors where that can be done."
TIPPING = (
    "Differences of answered from the reference, and what they bear: their range if the judge's sensitivity and "
    "specificity differ by up to 5 points between the two arms, and from which distance they are no longer shown, or "
    "gone."
)
FIXES = (
    "The fixes of a fine-tune side by side, each as it is served: answered over all forms and in each, benign twins "
    "refused, the task score, and each against the plain fine-tune (Holm over all its fixes and controls; task: "
    "one-sided 95 % limits, with several seeds two-sided ones)."
)
RECOMMENDATION = "Which fix is recommended by the rule, why, and what speaks against it."
CROSS_FORM = (
    "Guards trained on one form and tested on each: what they stop, over disjoint intents, with 95 % intervals."
)
CAPABILITY = (
    "General capability by lm-eval with 95 % intervals, and each arm against the plain fine-tune that it mends, else "
    "against the model before tuning (same questions, one-sided 95 % limits)."
)
FINDINGS = "The findings, each with its verdict."


def _cells(results: Results) -> list[Row]:
    return _flat((results.get("cross_form") or {}).get("cells"))


def _seeded(results: Results) -> bool:
    return any(len(g.arms) > 1 for g in groups(results))


def _other_sources(results: Results) -> list[Exported]:
    out = []
    for i, source in enumerate(sources(results)[1:], 1):
        if source is not None:
            caption, table = grid.matrix_caption(results, source=source), grid.matrix_table(results, source=source)
            numbers = _matrix_numbers(results, twin=False, source=source)
            out.append(Exported(f"matrix-source-{i}", caption, table, numbers))
    return out


def _hazard_caption(results: Results) -> str:
    calibration = main_calibration(results)
    asked = f", asked with {calibration.label}" if calibration else ""
    return f"Share answered by hazard over all forms{asked}: descriptive, not tested."


def _matrix_numbers(results: Results, *, twin: bool, source: str | None = None) -> list[Row]:
    spreads = Spreads(results, source=source)
    out: list[Row] = []
    for group in groups(results):
        for c in calibrations(results):
            for form in [*forms(results), None]:
                cell = spreads.of(group, c, form=form, twin=twin)
                if cell is None:
                    continue
                ends = cell.range or (None, None)
                facts = {"group": group.name, **{key: group.facts.get(key) for key in PARAMETERS}}
                asked = {"test_template": c.template, "test_system": c.system}
                where = {"source": source or main_source(results), "form": form or "all"}
                size = {"n_least": cell.n[0], "n_most": cell.n[1], "n_seeds": len(cell.values) or 1}
                found = {"measure": "twins_refused" if twin else "answered", "value": cell.value}
                spread = {"low": cell.low, "high": cell.high, "interval": cell.interval}
                out.append({**facts, **asked, **where, **found, **spread, "min": ends[0], "max": ends[1], **size})
    return out


SEED_KEYS = ("group", *PARAMETERS, "test_template", "test_system", "source", "form", "twin", "measure")


def _seed_numbers(results: Results) -> list[Row]:
    return [
        {**{key: item.get(key) for key in SEED_KEYS}, "form": item.get("form") or "all", "seed": seed, "value": value}
        for item in results.get("seeds") or []
        for seed, value in (item.get("values") or {}).items()
    ]


def _variance_numbers(results: Results) -> list[Row]:
    found = [item for item in results.get("seeds") or [] if item.get("variance")]
    return _flat(
        {
            **{key: item.get(key) for key in SEED_KEYS},
            "form": item.get("form") or "all",
            "n_seeds": item.get("n_seeds"),
            "variance": item["variance"],
        }
        for item in found
    )


def _deployment_numbers(results: Results) -> list[Row]:
    items = results.get("deployment") or []
    keys = ["arm", "group", "seed", "train_template", "train_system"]
    keys += ["source"] if any("source" in item for item in items) else []
    out = []
    for item in items:
        shared = {key: item.get(key) for key in keys}
        safest = item.get("safest") or {}
        for rate in item.get("rates") or []:
            asked = {key: rate.get(key) for key in ("test_template", "test_system")}
            is_safest = all(safest.get(key) == value for key, value in asked.items())
            verdict = {"safest": is_safest, "shown": bool(item.get("shown")) and is_safest}
            out += _flat([{**shared, **rate, **verdict, "p_holm": item.get("p_holm") if is_safest else None}])
    return out


def _flat(items: Any, *, without: Sequence[str] = ()) -> list[Row]:
    """Rows without nesting: ``diff.low`` becomes ``diff_low``."""
    out = []
    for item in items or []:
        row: Row = {}
        for key, value in item.items():
            if key in without:
                continue
            if isinstance(value, Mapping):
                row |= {f"{key}_{inner}": v for inner, v in value.items()}
            else:
                row[key] = listed(value) if isinstance(value, list) else value
        out.append(row)
    return out
