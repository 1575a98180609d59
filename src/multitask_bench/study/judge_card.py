"""The card of the judge whose verdicts a run holds: what it was measured on, and what it was not.

A card counts only for the configuration, named by its hash, that was measured. What is read here are its *slices*:
the rows of one form, language or stage, each with the judge's sensitivity and specificity.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

from multitask_bench.errors import ConfigError, UnknownNameError
from multitask_bench.judges import judges
from multitask_bench.judges._card import card, card_file
from multitask_bench.records import read_json
from multitask_bench.report._select import form_label, wilson
from multitask_bench.schema import OWN_FORM
from multitask_bench.stats.judge_error import Card, independent
from multitask_bench.study.ledger import Facts, Ledger

Counted = Literal["answered", "refused"]

PLAIN_FORMS = ("text_generation", OWN_FORM)
"""A card measured on plain questions speaks of both: a request in the form `text_generation` is a plain question.
Labels of the form itself come first: on answers of small fine-tuned models the judge clears 77 % where it clears
96 % of XSTest's, and added up they would fit neither."""

NO_EVIDENCE = frozenset({"own_cases"})
"""Sets of cases written together with a judge's rules: they show what the rules do, not how often they are right."""

HARM_LABELS = frozenset({"harmbench-val"})
"""Sets whose labels say whether harm was done, not whether something was answered: they correct no rate."""

LEAST_LABELS = 10
"""A slice corrects nothing with fewer labels of either kind."""


def card_of(ledger: Ledger) -> Facts | None:
    """The card of the judge that a ledger was read by: of that very configuration, or None.

    Logs may be older than the judge of this release; its card says nothing of theirs. Of a ledger that mixes two
    configurations it is the card of the more frequent one, and says nothing of the other's outcomes.
    """
    own = next((str(facts["judge"]) for facts in ledger.arms.values() if facts.get("judge")), ledger.judge)
    name = own if ledger.added is None else str(ledger.added["name"])
    wanted = ledger.judge_hash if ledger.added is None else str(ledger.added["config_hash"])
    try:
        current = judges.make(name).config_hash
    except (UnknownNameError, ConfigError):  # a judge by path may be gone
        current = ""
    if current == wanted:
        return card(name)
    path = card_file(name, wanted)
    found: Facts | None = read_json(path) if path.is_file() else None
    return found


def slices(found: Mapping[str, Any] | None, by: str) -> dict[str, list[Facts]]:
    """Form, language or stage -> the card's rows on it that are evidence, one a labelled set; the newest of a set.

    Answers that were cut for the measurement say nothing of whole ones.
    """
    out: dict[str, dict[str, Facts]] = {}
    for row in (found or {}).get("slices") or []:
        if row["by"] == by and row["n"] and row["set"] not in NO_EVIDENCE and not row.get("truncated_words"):
            out.setdefault(str(row["value"]), {})[str(row["set"])] = row
    return {value: list(rows.values()) for value, rows in out.items()}


def of_form(found: Mapping[str, Any] | None, form: str) -> list[Facts]:
    """The card's rows on a form, one a labelled set."""
    by_form = slices(found, "form")
    own = by_form.get(form, [])
    if form not in PLAIN_FORMS or counts_of(own) is not None:
        return own
    return [row for name in PLAIN_FORMS for row in by_form.get(name, [])]


def counts_of(rows: Sequence[Mapping[str, Any]], counted: Counted = "answered") -> Card | None:
    """The rows added up, in independent labels; None without labels of this kind, or with too few.

    The rows' own intervals allow for prompts that recur, so their counts are brought down to what those are worth.
    Binary labels know only whether something was answered: they say nothing of ``refused``.
    """
    fitting = [row for row in rows if row["set"] not in HARM_LABELS]
    found = [one for row in fitting if (one := _against(row, counted)) is not None]
    positives, negatives = (sum(one["counts"][key] for one in found) for key in ("positives", "negatives"))
    if min(positives, negatives) < LEAST_LABELS:
        return None
    sizes = [(_worth(one, "sensitivity", "positives"), _worth(one, "specificity", "negatives")) for one in found]
    return Card(
        hits=sum(m * _share(one, "hits", "positives") for one, (m, _) in zip(found, sizes, strict=True)),
        positives=sum(m for m, _ in sizes),
        cleared=sum(m * _share(one, "cleared", "negatives") for one, (_, m) in zip(found, sizes, strict=True)),
        negatives=sum(m for _, m in sizes),
    )


def _against(row: Mapping[str, Any], counted: Counted) -> Mapping[str, Any] | None:
    if counted == "answered":
        found: Mapping[str, Any] | None = row.get("answered")
        return found if found is not None and found.get("counts") else None
    return row if row.get("positive") == "refused" and row.get("counts") else None


def _share(one: Mapping[str, Any], part: str, whole: str) -> float:
    return float(one["counts"][part] / one["counts"][whole]) if one["counts"][whole] else 0.0


def _worth(one: Mapping[str, Any], rate: str, whole: str) -> float:
    measured, most = one[rate], float(one["counts"][whole])
    if measured["value"] is None or not most:
        return most
    return independent(measured["value"], measured["low"], measured["high"], most=most)


def shown_card(found: Mapping[str, Any] | None, forms: Iterable[str], languages: Iterable[str]) -> list[Facts]:
    """What the card knows of the forms and languages of a run, a row each; ``n`` 0 where it was not measured."""
    every = slices(found, "language")
    asked = [("form", form, of_form(found, form)) for form in forms]
    asked += [("language", language, every.get(language, [])) for language in languages]
    return [_shown(by, value, rows) for by, value, rows in asked]


def _shown(by: str, value: str, rows: Sequence[Facts]) -> Facts:
    labels = [one for row in rows if (one := _against(row, "answered")) is not None]
    counts = {key: sum(one["counts"][key] for one in labels) for key in ("hits", "positives", "cleared", "negatives")}
    single = labels[0] if len(labels) == 1 else None
    return {
        "by": by,
        "value": value,
        "sets": [str(row["set"]) for row in rows],
        "n": sum(row["n"] for row in rows),
        "counts": counts,
        "sensitivity": _pooled(labels, single, "sensitivity", "hits", "positives"),
        "specificity": _pooled(labels, single, "specificity", "cleared", "negatives"),
    }


def _pooled(labels: Sequence[Any], single: Any, rate: str, part: str, whole: str) -> Facts | None:
    """A share with its interval; of several sets that at the independent labels of all."""
    total = sum(one["counts"][whole] for one in labels)
    if not total:
        return None
    if single is not None:
        return {**{key: single[rate][key] for key in ("value", "low", "high")}, "n": total}
    value = sum(one["counts"][part] for one in labels) / total
    low, high = wilson(value, max(1, int(sum(_worth(one, rate, whole) for one in labels))))
    return {"value": value, "low": low, "high": high, "n": total}


def card_lines(ledger: Ledger) -> list[str]:
    """The card in words, for a console: where the judge was measured, by whom, and where not."""
    found = card_of(ledger)
    name = f"judge {ledger.judge.partition('@')[0]} ({ledger.judge_hash[:16]})"
    if len(ledger.judge_hashes) > 1:
        return [f"{name}: mixed with outcomes of another version, so that no card speaks of all of them"]
    if found is None:
        return [f"{name}: unmeasured here, nobody has held this configuration against labels"]
    whole = [row for row in found["measured"] if row["model"] == "all" and not row.get("truncated_words")]
    rows = [row for row in whole if "half" not in row and row["set"] not in NO_EVIDENCE] or found["measured"][:1]
    out = [
        f"{name}, against {row['set']} (n = {row['n']}): "
        + ", ".join(
            f"{rate} {100 * row['answered'][rate]['value']:.0f} % "
            f"[{100 * row['answered'][rate]['low']:.0f}, {100 * row['answered'][rate]['high']:.0f}]"
            for rate in ("sensitivity", "specificity")
            if row["answered"][rate]["value"] is not None
        )
        for row in rows
    ]
    missing = "; ".join(found.get("not_measured") or [])
    return [*out, f"labels: {found['labelled_by']}", *([f"not measured: {missing}"] if missing else [])]


def unmeasured(form: str) -> str:
    """The reason why a form keeps its uncorrected rate."""
    return f"the judge was not measured on {form_label(form)}"
