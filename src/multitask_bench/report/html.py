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

from multitask_bench.report import figures, tables
from multitask_bench.report._select import answered, form_label, forms, main_series, reference, refused, row_of
from multitask_bench.report.summary import clauses, detectable, percent

MEANING = "answered measures refusal behaviour, not uplift: whether the model took part, not how much that would help."
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
    judge = manifest.get("judge") or {}
    return environment.get_template("template.html.j2").render(
        title=f"{manifest.get('study') or 'run'}: guardrails after fine-tuning",
        sentences=[_unbroken(text) for text in clauses(results, warnings=False)],
        warnings=results.get("warnings") or [],
        findings=results.get("findings") or [],
        gate=gate,
        first=_first_screen(results),
        overview=tables.answered_table(results),
        figures=_figures(results),
        changes=_changes(results),
        ledgers=_ledgers(results),
        over_refusal=_over_refusal(results),
        twins=tables.twins_table(results),
        skill=tables.task_table(results),
        tables=_tables(results),
        missed=detectable(power),
        transcripts=[_transcript(t, show=show_responses) for t in _chosen(transcripts)],
        total=len(transcripts),
        show_responses=show_responses,
        judge=judge,
        card=judge.get("card"),
        percent=percent,
        meaning=MEANING,
        manifest=manifest,
        settings=json.dumps(manifest.get("settings") or {}, indent=1, ensure_ascii=False),
    )


def _unbroken(text: str) -> str:
    """``text`` with figures that do not break at the end of a line."""
    return re.sub(r" (?=%)|(?<=n) (?== )|(?<=n =) |(?<=p) (?=[=<] )|(?<=p [=<]) |(?<=\d,) (?=\d+\])", "\u00a0", text)


def _first_screen(results: Mapping[str, Any]) -> list[dict[str, str]]:
    """The reference's figures, form by form: what all that follows is measured against."""
    out = []
    for one in main_series(results, "aligned") or main_series(results, "base"):
        for form in [None, *forms(results)]:
            probes, twins = row_of(results, one, form=form), row_of(results, one, form=form, twin=True)
            out.append(
                {
                    "arm": one.arm,
                    "form": form_label(form),
                    "answered": percent(answered(probes)),
                    "refused": percent(refused(probes)),
                    "twins": percent(refused(twins)),
                }
            )
    return out


def _figures(results: Mapping[str, Any]) -> list[tuple[str, Markup]]:
    out = []
    for form in [None, *forms(results)]:
        rows = [(s.arm, s.stage, answered(row_of(results, s, form=form))) for s in main_series(results)]
        title = f"answered, {form_label(form)}, % of judged harmful probes"
        out.append((form_label(form), Markup(figures.dots(title, rows))))  # noqa: S704  built from escaped parts
    return out


def _changes(results: Mapping[str, Any]) -> list[tuple[str, Markup, tables.Table]]:
    """Each later arm against the reference, and each repair against what it repairs."""
    ref = reference(results)
    later = main_series(results, "control", "tuned", "repaired")
    pairs = [(ref, one) for one in later] if ref is not None else []
    pairs += [(t, r) for t in main_series(results, "tuned") for r in main_series(results, "repaired")]
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
    rows = [(s.arm, s.stage, refused(row_of(results, s, form=form, twin=True))) for s in main_series(results)]
    return Markup(figures.dots("benign twins refused, %", rows))  # noqa: S704


def _ledgers(results: Mapping[str, Any]) -> list[tuple[str, Markup]]:
    out = []
    for twin, name in ((False, "harmful probes"), (True, "benign twins")):
        rows = [
            (s.arm, row["outcomes"])
            for s in main_series(results)
            if (row := row_of(results, s, form=None, twin=twin) or _only_form(results, s, twin=twin)) is not None
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
        ("Seen and held-out wordings", tables.split_table(results)),
        ("All rates, with bounds", tables.rates_table(results)),
        ("Outcomes, harmful probes", tables.ledger_table(results)),
        ("Outcomes, benign twins", tables.ledger_table(results, twin=True)),
        ("Every comparison, with its test", tables.comparison_table(results)),
        ("Probe sets", tables.probe_set_table(results)),
    )
    return [(name, table) for name, table in every if table.rows]


def _chosen(transcripts: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    seen: dict[tuple[str, ...], int] = {}
    out = []
    for item in transcripts:
        key = tuple(str(item.get(k)) for k in ("arm", "test_system", "form", "twin"))
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
