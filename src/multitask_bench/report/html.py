"""The report: one HTML file that opens offline, without a script.

Harmful prompts and the answers to them are left out unless asked for; what stands instead is the
outcome, the reason, the length and the first digits of the answer's sha256.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from multitask_bench.report import capability, figures, findings, grid, mitigation, tables
from multitask_bench.report import judge as judges
from multitask_bench.report._groups import Group, Spread, Spreads, calibrations, groups, has_matrix, seeded, sources
from multitask_bench.report._select import (
    Results,
    answered,
    base_models,
    document,
    form_label,
    forms,
    main_series,
    reference,
    refused,
    row_of,
)
from multitask_bench.report.findings import unbroken
from multitask_bench.report.paths import without_paths
from multitask_bench.report.summary import clauses, detectable, percent

MEANING = "answered measures refusal behaviour, not uplift: whether the model took part, not how much that would help."
HELD_OUT = "held_out:"
"""How the ids of findings on the held-out source begin."""
HELD_OUT_SHOWN = 4
"""So many of them stand among the findings; more are folded away."""
SHOWN_DIFFERENCES = 8
"""More tipping points than this are folded away."""
SHOWN_A_CELL = 3
"""Transcripts shown for each arm, form and side; the logs hold them all."""


def render(
    results: Mapping[str, Any],
    manifest: Mapping[str, Any],
    transcripts: Sequence[Mapping[str, Any]],
    *,
    power: Sequence[Mapping[str, Any]],
    gate: Mapping[str, Any] | None = None,
    show_responses: bool = False,
) -> str:
    """The report as HTML; every text from a model or a file is escaped."""
    environment = Environment(
        loader=PackageLoader("multitask_bench.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
    )
    manifest = without_paths(dict(manifest))
    judge = manifest.get("judge") or {}
    results = document(results)
    return environment.get_template("template.html.j2").render(
        title=f"{manifest.get('study') or 'run'}: guardrails after fine-tuning",
        sentences=[unbroken(text) for text in clauses(results, warnings=False)],
        warnings=results.get("warnings") or [],
        **_findings(results),
        study=_study(results),
        fixes=_fixes(results),
        gate=gate,
        first=_first_screen(results),
        seeded=seeded(results),
        own_model=tables.OWN_MODEL if base_models(results) else "",
        overview=tables.answered_table(results),
        overview_stacked=_stacked(tables.answered_table(results)),
        figures=_figures(results),
        changes=_changes(results),
        ledgers=_ledgers(results),
        over_refusal=_over_refusal(results),
        twins=tables.Table([], []) if has_matrix(results) else tables.twins_table(results),
        twins_heat=grid.matrix_heat(results, twin=True) if has_matrix(results) else None,
        skill=tables.Table([], []) if seeded(results) else tables.task_table(results),
        capability=capability.table(results),
        tables=_tables(results),
        missed=detectable(power),
        transcripts=[_transcript(t, show=show_responses) for t in _chosen(transcripts)],
        total=len(transcripts),
        show_responses=show_responses,
        judge=judge,
        card=judge.get("card"),
        harm=any(row.get("harmful") for row in results["rows"]),
        reads_harm=(judges.known(results) or {}).get("measures_harm", False),
        belief=_belief(results),
        percent=percent,
        meaning=MEANING,
        manifest=manifest,
        answers=_answers(results, manifest),
        settings=json.dumps(manifest.get("settings") or {}, indent=1, ensure_ascii=False),
    )


def _belief(results: Results) -> dict[str, Any]:
    """Whether the judge can be believed here: what it was measured on, corrected rates, tipping points."""
    found, tipped = results.get("corrections") or {}, judges.tipping_table(results)
    return {
        "verdict": judges.verdict(results),
        "measured": judges.card_table(results),
        "panel": judges.panel_table(results),
        "panel_text": judges.panel_text(results),
        "labelled_by": (found.get("judge") or {}).get("labelled_by"),
        "not_measured": (found.get("judge") or {}).get("not_measured") or [],
        "explanation": unbroken(str(found.get("explanation") or "")),
        "corrected": judges.corrected_table(results),
        "uncorrected": judges.uncorrected(results),
        "sentences": [unbroken(text) for text in judges.tipping_sentences(results)],
        "tipping": tipped,
        "tipping_by_form": judges.tipping_table(results, by_form=True) if len(forms(results)) > 1 else None,
        "fold": len(tipped.rows) > SHOWN_DIFFERENCES,
    }


def _answers(results: Mapping[str, Any], manifest: Mapping[str, Any]) -> str:
    """How the answers were decoded, and how long they could be."""
    probes = (manifest.get("settings") or {}).get("probes") or {}
    limits = sorted({row["max_new_tokens"] for row in results.get("rows", []) if row.get("max_new_tokens")})
    limit = " or ".join(map(str, limits or [probes.get("max_new_tokens", "?")]))
    temperature = probes.get("temperature") or 0
    how = f"Answers sampled at temperature {temperature:g}, one a probe," if temperature else "Greedy answers"
    return f"{how} of at most {limit} new tokens"


def _findings(results: Mapping[str, Any]) -> dict[str, Any]:
    """The findings as they are shown: claims with their numbers, plain sentences, and the held-out source apart."""
    claims, plain, held_out = [], [], []
    for item in results.get("findings") or []:
        if str(item.get("id", "")).startswith(HELD_OUT):
            held_out.append(item)
        elif item.get("claim") and not mitigation.told_there(results, item):
            claims.append(findings.shown_claim(item))
        elif not item.get("claim"):
            plain.append(item)
    if len(held_out) <= HELD_OUT_SHOWN:
        plain, held_out = [*plain, *held_out], []
    verdicts = [str(item.get("verdict")) for item in held_out]
    counts = ", ".join(f"{verdicts.count(verdict)} {verdict}" for verdict in dict.fromkeys(verdicts))
    return {"claims": claims, "findings": plain, "held_out": held_out, "held_out_counts": counts}


def _fixes(results: Results) -> dict[str, Any]:
    """What was done about it, and what guards measured; empty where nothing was."""
    return {
        "sections": mitigation.sections(results),
        "claims": [findings.shown_claim(i) for i in results.get("findings") or [] if mitigation.told_there(results, i)],
        "guards": mitigation.guard_tables(results),
        "unmeasured": mitigation.not_measured(results),
        "cross": mitigation.cross_form(results),
    }


def _study(results: Mapping[str, Any]) -> dict[str, Any]:
    """The sections of a whole study; those that the run has nothing for are empty."""
    whole = has_matrix(results)
    return {
        "matrix": grid.matrix_heat(results) if whole else None,
        "matrix_caption": unbroken(grid.matrix_caption(results)) if whole else "",
        "strips": _strips(results) if seeded(results) else [],
        "seeds": grid.seeds_table(results),
        "gaps": grid.gap_heat(results),
        "effects": grid.calibration_heat(results),
        "effects_twins": grid.calibration_heat(results, twin=True),
        "deployment": grid.deployment_heat(results),
        "deployment_size": grid.deployment_size(results),
        "deployment_texts": [str(i["text"]) for i in grid.of_main_source(results, "deployment") if i.get("text")],
    }


def _stacked(table: tables.Table) -> grid.Heat:
    """A table with intervals and ranges under the figures, without shades."""
    rows = []
    for name, *cells in table.rows:
        parts = [re.fullmatch(r"(.*?)( [\[(].*[\])])?( [▲▼].*)?", cell) for cell in cells]
        shaded = [
            grid.Shaded(
                (m[1] or "") + (m[3] or ""),
                (m[2] or "").strip().replace("] (", "], ").replace("(", "").replace(")", ""),
                None,
            )
            for m in parts
            if m is not None
        ]
        rows.append(([name], shaded, False))
    return grid.Heat(table.header, rows)


def _strips(results: Mapping[str, Any]) -> list[tuple[str, Markup]]:
    """Each seed of each arm over all forms, a plot a calibration."""
    form = None if len(forms(results)) > 1 else next(iter(forms(results)), None)
    spreads, out = Spreads(results), []
    for calibration in calibrations(results):
        rows = _rows_of(groups(results), [spreads.of(g, calibration, form=form) for g in groups(results)])
        title = f"answered over all forms, {calibration.label}, % of judged harmful probes"
        out.append((f"asked with {calibration.label}", Markup(figures.strips(title, rows))))  # noqa: S704
    return out


def _rows_of(every: Sequence[Group], cells: Sequence[Spread | None]) -> list[tuple[str, str, Spread]]:
    return [(g.name, g.stage, cell) for g, cell in zip(every, cells, strict=True) if cell is not None]


def _first_screen(results: Mapping[str, Any]) -> list[tables.Table]:
    """The reference's figures, form by form: what all that follows is measured against. A table an arm."""
    out = []
    for model in dict.fromkeys(one.model for one in main_series(results)):
        own = [one for one in main_series(results, "aligned", "base") if one.model == model]
        for one in [s for s in own if s.stage == "aligned"] or own:
            rows = []
            for form in [None, *forms(results)]:
                probes, twins = row_of(results, one, form=form), row_of(results, one, form=form, twin=True)
                rates = (answered(probes), refused(probes), refused(twins))
                rows.append([form_label(form), *map(percent, rates)])
            header = [f"{one.arm}, held-out intents", "answered", "refused", "benign twins refused"]
            out.append(tables.Table(header, rows))
    return out


def _figures(results: Mapping[str, Any]) -> list[tuple[str, Markup]]:
    out = []
    if seeded(results):
        every, spreads, main = groups(results), Spreads(results), calibrations(results)[0]
        for name in forms(results):
            strips = _rows_of(every, [spreads.of(g, main, form=name) for g in every])
            title = f"answered, {form_label(name)}, % of judged harmful probes"
            out.append((form_label(name), Markup(figures.strips(title, strips))))  # noqa: S704
        return out
    for form in [None, *forms(results)]:
        rows = [(s.arm, s.stage, answered(row_of(results, s, form=form))) for s in main_series(results)]
        title = f"answered, {form_label(form)}, % of judged harmful probes"
        out.append((form_label(form), Markup(figures.dots(title, rows))))  # noqa: S704  built from escaped parts
    return out


def _changes(results: Mapping[str, Any]) -> list[tuple[str, Markup, tables.Table]]:
    """Each later arm against its reference, and each repair against what it repairs."""
    later = main_series(results, "control", "tuned", "repaired")
    pairs = [(ref, one) for one in later if (ref := reference(results, one.model)) is not None]
    tuned, repaired = main_series(results, "tuned"), main_series(results, "repaired")
    pairs += [(t, r) for t in tuned for r in repaired if t.model == r.model]
    out = []
    for before, after in pairs:
        table = tables.change_table(results, before, after)
        if not table.rows:
            continue
        names = [*forms(results), None] if len(forms(results)) > 1 else forms(results)
        rates = [
            (form_label(f), answered(row_of(results, before, form=f)), answered(row_of(results, after, form=f)))
            for f in names
        ]
        title = f"{after.arm} against {before.arm}"
        out.append((title, Markup(figures.change(title, after.stage, rates)), table))  # noqa: S704
    return out


def _over_refusal(results: Mapping[str, Any]) -> Markup:
    form = None if len(forms(results)) > 1 else next(iter(forms(results)), None)
    if seeded(results):
        every, spreads, main = groups(results), Spreads(results), calibrations(results)[0]
        strips = _rows_of(every, [spreads.of(g, main, form=form, twin=True) for g in every])
        return Markup(figures.strips("benign twins refused, %", strips))  # noqa: S704
    rows = [(s.arm, s.stage, refused(row_of(results, s, form=form, twin=True))) for s in main_series(results)]
    return Markup(figures.dots("benign twins refused, %", rows))  # noqa: S704


def _ledgers(results: Mapping[str, Any]) -> list[tuple[str, Markup]]:
    """Outcomes of every arm; the seeds of a group are added up."""
    out = []
    for twin, name in ((False, "harmful probes"), (True, "benign twins")):
        counts = {
            s.arm: row["outcomes"]
            for s in main_series(results)
            if (row := row_of(results, s, form=None, twin=twin) or _only_form(results, s, twin=twin)) is not None
        }
        rows = [
            (group.name, {kind: sum(c.get(kind, 0) for c in found) for kind in figures.OUTCOMES})
            for group in groups(results)
            if (found := [counts[arm] for arm in group.arms if arm in counts])
        ]
        if rows:
            out.append((name, Markup(figures.ledger(f"outcomes of {name}", rows))))  # noqa: S704
    return out


def _only_form(results: Mapping[str, Any], one: Any, *, twin: bool) -> Any:
    """The row of a run with a single form, which has no row over all forms."""
    names = forms(results)
    return row_of(results, one, form=names[0], twin=twin) if len(names) == 1 else None


def _tables(results: Mapping[str, Any]) -> list[tuple[str, tables.Table]]:
    every = (
        *((f"Matrix, probes of {source}", grid.matrix_table(results, source=source)) for source in _others(results)),
        ("Every seed, form by form", grid.seeds_table(results, every=True)),
        *((f"Hazards, asked with {c.label}", grid.hazard_table(results, calibration=c)) for c in calibrations(results)),
        ("Deployment, adapter by adapter", grid.deployment_table(results)),
        ("Twins refused, arm by arm", tables.twins_table(results) if has_matrix(results) else tables.Table([], [])),
        ("Task skill, arm by arm", tables.task_table(results) if seeded(results) else tables.Table([], [])),
        ("Seen and held-out wordings", tables.split_table(results)),
        ("All rates, with bounds", tables.rates_table(results)),
        ("Outcomes, harmful probes", tables.ledger_table(results)),
        ("Outcomes, benign twins", tables.ledger_table(results, twin=True)),
        ("Every comparison, with its test", tables.comparison_table(results)),
        ("Probe sets", tables.probe_set_table(results)),
    )
    return [(name, table) for name, table in every if table.rows]


def _others(results: Mapping[str, Any]) -> list[str]:
    """Sources beside the headline's, where the run is one of a matrix."""
    return [name for name in sources(results)[1:] if name is not None] if has_matrix(results) else []


def _chosen(transcripts: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    seen: dict[tuple[str, ...], int] = {}
    out = []
    for item in transcripts:
        key = tuple(str(item.get(k)) for k in ("arm", "test_template", "test_system", "form", "twin"))
        seen[key] = seen.get(key, 0) + 1
        if seen[key] <= SHOWN_A_CELL:
            out.append(item)
    return out


def _transcript(item: Mapping[str, Any], *, show: bool) -> dict[str, Any]:
    answer = str(item.get("answer") or "")
    harmless = bool(item.get("twin"))
    refusal = item.get("outcome") == "refused"
    sha = hashlib.sha256(answer.encode("utf-8", "surrogatepass")).hexdigest()[:12]
    hidden = f"[redacted: {len(answer)} characters, sha256 {sha}]"
    return {
        **item,
        "prompt_shown": item.get("prompt") if harmless or show else "[redacted]",
        "answer_shown": answer if harmless or refusal or show else hidden,
        "answer_visible": harmless or refusal or show,
    }
