"""Whether the judge can be believed on the answers of a run: its card, corrected rates, tipping points.

`results["corrections"]` says what is known of the judge and what corrected numbers rest on. An uncorrected number
always stands beside a corrected one; where none is corrected, the reason does.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from multitask_bench.records import Row
from multitask_bench.report._select import (
    Results,
    Series,
    answered,
    comparison,
    form_label,
    forms,
    main_series,
    reference,
    row_of,
    shown,
)
from multitask_bench.report.summary import percent, points
from multitask_bench.report.tables import Table, differing, tips_at

LANGUAGES = {"en": "requests in English", "fr": "requests in French"}
UNMEASURED = "unmeasured here"


def known(results: Results) -> Row | None:
    """What is known of the judge; None in a document that says nothing of it."""
    found: Row | None = (results.get("corrections") or {}).get("judge")
    return found


def card_table(results: Results) -> Table:
    """The judge on each form and language of the run: labels, sensitivity, specificity; or that it is unmeasured."""
    header = [
        "",
        "labelled answers",
        "finds what was answered (sensitivity)",
        "clears what was not (specificity)",
        "labelled set",
    ]
    measured = (known(results) or {}).get("measured") or []
    rows = [
        [
            form_label(item["value"]) if item["by"] == "form" else LANGUAGES.get(item["value"], str(item["value"])),
            str(item["n"]) if item["n"] else UNMEASURED,
            percent(item["sensitivity"]) if item["sensitivity"] else "",
            percent(item["specificity"]) if item["specificity"] else "",
            ", ".join(item["sets"]),
        ]
        for item in measured
    ]
    return Table(header, rows)


def verdict(results: Results) -> str:
    """The judge in one sentence: on what it was measured, and on what not."""
    found = known(results)
    if found is None:
        return ""
    name = f"judge {str(found['name']).partition('@')[0]} ({found['config_hash']})"
    asked = [item for item in found.get("measured") or [] if item["by"] == "form"]
    seen = [f"{form_label(item['value'])} (n = {item['n']})" for item in asked if item["n"]]
    unseen = [form_label(item["value"]) for item in asked if not item["n"]]
    if not seen:
        return f"{name}: {UNMEASURED}, nobody has held it against labels of these forms"
    text = f"{name}: measured on {_listed(seen)}"
    return f"{text}, not on {_listed(unseen)}" if unseen else text


def panel_table(results: Results) -> Table:
    """How far the judges of a run agree on its answers, over all forms and in each."""
    found = results.get("panel") or {}
    header = ["form", "answers", "same outcome", "Krippendorff's alpha", "Gwet's AC1"]
    rows = [
        [
            form_label(None if a["form"] == "all" else a["form"]),
            str(a["n"]),
            f"{a['observed']:.0%}",
            *map(_alpha, (a["alpha"], a["ac1"])),
        ]
        for a in found.get("agreement") or []
    ]
    return Table(header, rows)


def panel_text(results: Results) -> str:
    """Which judges read the answers, and on how many they part; empty where there is one."""
    found = results.get("panel")
    if not found:
        return ""
    plain = [name.partition("@")[0] for name in found["judges"]]
    names = _listed(
        [full if plain.count(name) > 1 else name for full, name in zip(found["judges"], plain, strict=True)]
    )
    return (
        f"{names} read the same {found['answers']} answers and part on {found['parted']}; "
        f"on {found['parted_on_answered']} of them it matters for what counts as answered"
    )


def _alpha(value: Row | None) -> str:
    return f"{value['value']:.2f} [{value['low']:.2f}, {value['high']:.2f}]" if value else "undefined"


def corrected_table(results: Results, *, every: bool = False) -> Table:
    """Answered beside its corrected value, arms and forms down: corrected ones, or ``every`` row with the reason."""
    rows = []
    for one, form, row in _asked(results):
        fixed = row.get("answered_corrected")
        if fixed is None and not every:
            continue
        shown_ = percent(fixed) if fixed else "not corrected"
        rows.append([one.arm, form_label(form), percent(answered(row)), shown_, _basis(row)])
    return Table(["arm", "form", "answered, as judged", "corrected", "by"], rows)


def uncorrected(results: Results) -> list[str]:
    """Why rates stand as they were judged, each reason once with the forms that it speaks of."""
    found: dict[str, dict[str, None]] = {}
    for _, form, row in _asked(results):
        reason = (row.get("correction") or {}).get("reason")
        if row.get("answered_corrected") is None and reason:
            found.setdefault(str(reason), {})[form_label(form)] = None
    everything = len({form_label(form) for _, form, _ in _asked(results)})
    return [
        reason
        if len(names) == everything or any(name in reason for name in names)
        else f"{reason} ({', '.join(names)})"
        for reason, names in found.items()
    ]


def correction_numbers(results: Results) -> list[Row]:
    """Every headline rate with its corrected value, for a file of numbers."""
    out = []
    for one, form, row in _asked(results):
        plain, fixed, how = (row.get(key) or {} for key in ("answered", "answered_corrected", "correction"))
        ends = ("value", "low", "high")
        out.append(
            {
                "arm": one.arm,
                "form": form or "all",
                "n": row["n"],
                **{f"answered_{key}": plain.get(key) for key in ends},
                **{f"corrected_{key}": fixed.get(key) for key in ends},
                "basis": how.get("basis"),
                "labels": how.get("labels"),
                "reason": how.get("reason"),
            }
        )
    return out


def tipping_table(results: Results, *, by_form: bool = False) -> Table:
    """Each later arm against its reference: how unlike the judge must err in the two before the difference is gone."""
    compared = _compared(results, by_form=by_form)
    references = {before.arm for before, _, _, _ in compared}
    rows = []
    for before, after, form, item in compared:
        fixed, tip = item.get("diff_corrected"), item.get("tipping") or {}
        rows.append(
            [
                after.arm if len(references) == 1 else f"{after.arm} against {before.arm}",
                form_label(form),
                points(item.get("diff")) + ("" if shown(item) else ", not shown"),
                points(fixed) if fixed else "",
                differing(item),
                tips_at(tip.get("tips_at"), never=bool(tip)) if shown(item) else "",
                tips_at(tip.get("reverses_at"), never=bool(tip)),
            ]
        )
    against = f"against {references.pop()}" if len(references) == 1 else "b against a"
    header = [against, "form", "as judged", "corrected by labels", "limits at 5 points", "not shown from", "gone from"]
    # Columns that say nothing: without an audit no labels, over all forms no form.
    dull = {i for i in (1, 3) if len({row[i] for row in rows}) < 2 and (i == 1 or not any(row[i] for row in rows))}
    kept = [i for i in range(len(header)) if i not in dull]
    return Table([header[i] for i in kept], [[row[i] for i in kept] for row in rows])


def tipping_sentences(results: Results) -> list[str]:
    """The tipping points in words: the shown difference that falls first, and what holds at 5 points."""
    found = [
        (before, after, form, item)
        for before, after, form, item in _compared(results)
        if shown(item) and item.get("diff_corrected") is None and item.get("tipping")
    ]
    if not found:
        return []
    before, after, form, item = min(found, key=lambda one: _tip(one[3]))
    least, change = _tip(item), "rise" if shown(item) > 0 else "fall"
    what = f"{after.arm} against {before.arm}, {form_label(form)}: {points(item['diff'])}"
    if least == float("inf"):
        first = f"No difference falls, however unlike the judge errs in the two arms ({what})."
    else:
        first = (
            f"The first to fall is the {change} of {what}: it is no longer shown if the judge's sensitivity or "
            f"specificity differs by {100 * least:.1f} points between the two arms."
        )
    held = [one for one in found if _tip(one[3]) > one[3]["tipping"]["differential"]]
    limit = f"{100 * item['tipping']['differential']:g} points"
    if len(found) == 1:
        return [first]
    return [first, f"{len(held)} of the {len(found)} shown differences from the reference stand up to {limit}."]


def _tip(item: Row) -> float:
    at = item["tipping"]["tips_at"]
    return float("inf") if at is None else float(at)


def _asked(results: Results) -> list[tuple[Series, str | None, Row]]:
    names: list[str | None] = [*forms(results), None] if len(forms(results)) > 1 else list(forms(results))
    return [
        (one, form, row)
        for one in main_series(results)
        for form in names
        if (row := row_of(results, one, form=form)) is not None
    ]


def _compared(results: Results, *, by_form: bool = False) -> list[tuple[Series, Series, str | None, Row]]:
    names: list[str | None] = list(forms(results))
    if len(names) > 1:
        names = [*names, None] if by_form else [None]
    out = []
    for one in main_series(results, "control", "tuned", "repaired"):
        before = reference(results, one.model)
        for form in names if before is not None else []:
            assert before is not None
            item = comparison(results, before.arm, one.arm, form=form or "all")
            if item is not None and ("tipping" in item or "diff_corrected" in item):
                out.append((before, one, form, item))
    return out


def _basis(row: Row) -> str:
    how: dict[str, Any] = row.get("correction") or {}
    if how.get("basis") is None:
        return str(how.get("reason") or "")
    source = "the judge's card" if how["basis"] == "card" else "labels of this run"
    return f"{source}, {how['labels']} labels"


def _listed(parts: Sequence[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"
