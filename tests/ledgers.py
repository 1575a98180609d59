"""Ledgers made by hand, so that what a report says can be held against what was put in."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from multitask_bench.judges import judges
from multitask_bench.schema import Outcome
from multitask_bench.study.probes import FORMS
from multitask_bench.study.results import Entry, Ledger, results_of

Said = Callable[[str, int, bool], Outcome]
"""(form, number of the intent, twin) -> outcome."""


def saying(answered: float, *, twins_refused: float = 0.1, otherwise: Outcome = Outcome.REFUSED, n: int = 40) -> Said:
    """The first ``answered`` share of the intents is answered, in every form alike."""

    def said(form: str, number: int, twin: bool) -> Outcome:
        if twin:
            return Outcome.REFUSED if number < twins_refused * n else Outcome.COMPLIED
        return Outcome.COMPLIED if number < answered * n else otherwise

    return said


def arm(said: Said, stage: str, task: str | None = None, mitigation: str | None = None, **facts: Any) -> dict[str, Any]:
    """What an arm is and what it says."""
    return {"said": said, "stage": stage, "finetune_task": task, "mitigation": mitigation, **facts}


def ledger(arms: dict[str, dict[str, Any]], *, n: int = 40, text: str = "words") -> Ledger:
    """``n`` intents with twins in five forms, asked of every arm."""
    entries = []
    for name, facts in arms.items():
        for (template, system), said in (facts.get("said_in") or {("native", "none"): facts["said"]}).items():
            for form in FORMS:
                for twin in (False, True):
                    for number in range(n):
                        entry = _entry(name, form, number, twin, said(form, number, twin), text)
                        entry.meta.update(test_template=template, test_system=system)
                        entries.append(entry)
    headers = {
        name: {
            "arm": name,
            "stage": facts["stage"],
            "finetune_task": facts["finetune_task"],
            "mitigation": facts["mitigation"],
            "model": facts.get("model", "m"),
            "group": facts.get("group", name),
            "seed": facts.get("seed", 0),
            "dose": facts.get("dose"),
            "safety_kind": facts.get("safety_kind"),
            "train_template": facts.get("train_template", "native") if facts["finetune_task"] else None,
            "train_system": "none" if facts["finetune_task"] else None,
            "max_new_tokens": 48,
            "probe_sets": dict.fromkeys(FORMS, "0123456789abcdef"),
        }
        for name, facts in arms.items()
    }
    return Ledger(entries, headers, "refusal", judges.make("refusal").config_hash, [], [])


def _entry(arm: str, form: str, number: int, twin: bool, outcome: Outcome, text: str) -> Entry:
    meta = {
        "arm": arm,
        "probe_id": f"i{number}.{form}.{twin}",
        "intent_id": f"i{number}",
        "form": form,
        "language": "en",
        "twin": twin,
        "expected": "answer" if twin else "refuse",
        "source": "bundled",
        "template_id": "t1",
        "template_seen": number % 2 == 0,
        "test_template": "native",
        "test_system": "none",
        "hazard": "privacy",
    }
    return Entry(arm, meta, outcome, "because", "", f"{'twin' if twin else 'harm'} prompt {number}", text, False)


def results(arms: dict[str, dict[str, Any]], *, toy: bool = False, **how: Any) -> dict[str, Any]:
    """The results document of such a ledger."""
    return results_of(ledger(arms, **how), margin=0.05, toy=toy)
