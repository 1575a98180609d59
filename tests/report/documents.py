"""A results document of a whole study, made by hand: seeds, calibrations, gaps, hazards, deployment, findings.

Rates come from one formula, so that a test can say what must stand in a cell; intervals and p values are
only plausible. Counts are of ``N`` probes a form.
"""

from __future__ import annotations

import math
from typing import Any

from multitask_bench.study.results import Ledger, results_of
from tests import ledgers

N = 40
FORMS = ("text_generation", "code_generation", "translation", "classification", "summarization")
CALIBRATIONS = (("native", "none"), ("native", "safety"), ("alpaca", "none"), ("alpaca", "safety"))
HAZARDS = ("privacy", "violent_crimes", "fraud & scams")
SEEDS = (0, 1, 2)
GROUPS: dict[str, tuple[str, str | None, str | None, float]] = {
    "aligned": ("aligned", None, None, 0.05),
    "control": ("control", "chat", None, 0.10),
    "tuned-code": ("tuned", "code", None, 0.45),
    "tuned-translation": ("tuned", "translation", None, 0.40),
    "tuned-classification": ("tuned", "classification", None, 0.15),
    "tuned-summarization": ("tuned", "summarization", None, 0.42),
    "repaired-translation": ("repaired", "translation", "safety_mix(share=0.1)", 0.12),
}
"""Name -> stage, task, mitigation, level; all but ``aligned`` have three seeds."""


def rate(group: str, form: str | None, template: str, system: str, seed: int | None, *, twin: bool = False) -> float:
    """The rate of a cell: answered, or refused where ``twin``."""
    if twin:
        return round(N * (0.10 + 0.05 * (system == "safety") + 0.02 * (seed or 0))) / N
    level = GROUPS[group][3]
    level += 0.04 * (FORMS.index(form) - 2) if form else 0.0
    level *= (0.4 if system == "safety" else 1.0) * (1.3 if template == "alpaca" else 1.0)
    level += 0.03 * ((seed or 0) - 1) * (seed is not None)
    return round(N * min(1.0, max(0.0, level))) / N


def arms() -> dict[str, tuple[str, int | None]]:
    """Arm -> its group and seed."""
    out: dict[str, tuple[str, int | None]] = {}
    for group in GROUPS:
        for seed in SEEDS if group != "aligned" else (None,):
            out[group if seed is None else f"{group}-s{seed}"] = (group, seed)
    return out


def mean_rate(group: str, form: str | None, template: str, system: str, *, twin: bool = False) -> float:
    return sum(rate(group, form, template, system, seed, twin=twin) for seed in SEEDS) / len(SEEDS)


def _ci(value: float, n: int) -> dict[str, float]:
    half = 1.96 * math.sqrt(max(value * (1 - value), 0.01) / n)
    return {"value": value, "low": max(0.0, value - half), "high": min(1.0, value + half)}


def _facts(arm: str, group: str, seed: int | None) -> dict[str, Any]:
    stage, task, mitigation, _ = GROUPS[group]
    return {
        "arm": arm,
        "group": group,
        "stage": stage,
        "model": "demo",
        "adapter": None,
        "finetune_task": task,
        "mitigation": mitigation,
        "seed": seed,
        "train_template": "native" if task else None,
        "train_system": "none" if task else None,
    }


def _rows() -> list[dict[str, Any]]:
    out = []
    for arm, (group, seed) in arms().items():
        for template, system in CALIBRATIONS:
            for twin in (False, True):
                for form in (*FORMS, None):
                    value = rate(group, form, template, system, seed, twin=twin)
                    n = N if form else N * len(FORMS)
                    hits = round(value * n)
                    answered = n - hits if twin else hits
                    found = _ci(answered / n, n)
                    out.append(
                        {
                            **_facts(arm, group, seed),
                            "test_template": template,
                            "test_system": system,
                            "form": form,
                            "language": None,
                            "twin": twin,
                            "expected": "answer" if twin else "refuse",
                            "source": "bundled",
                            "template_seen": None,
                            "guard": None,
                            "judge": "refusal",
                            "judge_hash": "0" * 16,
                            "probe_set": "0123456789abcdef",
                            "max_new_tokens": 48,
                            "truncated": 0,
                            "n_intents": N,
                            "n": n,
                            "outcomes": {"complied": answered, "refused": n - answered},
                            "not_refused": found,
                            "answered": found,
                            "harmful": None,
                            "answered_corrected": None,
                            "answered_bounds": [answered / n, answered / n],
                        }
                    )
    return out


def _diff(value: float) -> dict[str, Any]:
    p = 0.0004 if abs(value) > 0.12 else 0.3
    diff = {"value": value, "low": max(-1.0, value - 0.1), "high": min(1.0, value + 0.1)}
    sides = {"a_only": max(0, round(-value * N)) + 1, "b_only": max(0, round(value * N)) + 1}
    return {"n_pairs": N, **sides, "diff": diff, "p": p / 2, "p_holm": p, "family": "f", "test": "mcnemar_exact"}


def _comparisons() -> list[dict[str, Any]]:
    out = []
    for template, system in CALIBRATIONS:
        for b, (group, seed) in arms().items():
            pairs = [] if group == "aligned" else [("aligned", "aligned", None)]
            if GROUPS[group][0] in ("tuned", "repaired"):
                pairs.append((f"control-s{seed}", "control", seed))
            if group == "repaired-translation":
                pairs.append((f"tuned-translation-s{seed}", "tuned-translation", seed))
            for a, a_group, a_seed in pairs:
                for form in (*FORMS, None):
                    where = (form, template, system)
                    value = rate(group, *where, seed) - rate(a_group, *where, a_seed)
                    shared = {"a": a, "b": b, "test_template": template, "test_system": system, "twin": False}
                    shared |= {"source": "bundled", "measure": "answered", "form": form or "all"}
                    out.append({**shared, **_diff(value)})
    return out


def _seeds() -> list[dict[str, Any]]:
    out = []
    for group in GROUPS:
        if group == "aligned":
            continue
        facts = {k: v for k, v in _facts("", group, 0).items() if k not in ("arm", "seed", "adapter")}
        for template, system in CALIBRATIONS:
            for twin in (False, True):
                for form in (*FORMS, None):
                    values = {str(s): rate(group, form, template, system, s, twin=twin) for s in SEEDS}
                    mean = sum(values.values()) / 3
                    spread = math.sqrt(sum((v - mean) ** 2 for v in values.values()) / 2)
                    half = 4.303 * spread / math.sqrt(3)
                    out.append(
                        {
                            **facts,
                            "test_template": template,
                            "test_system": system,
                            "source": "bundled",
                            "form": form,
                            "twin": twin,
                            "measure": "twins_refused" if twin else "answered",
                            "values": values,
                            "n_seeds": 3,
                            "mean": mean,
                            "low": max(0.0, mean - half),
                            "high": min(1.0, mean + half),
                            "interval": "t",
                            "range": [min(values.values()), max(values.values())],
                        }
                    )
    return out


def _identity(arm: str, group: str, seed: int | None) -> dict[str, Any]:
    return {"arm": arm, "group": group, "stage": GROUPS[group][0], "seed": seed}


def _gaps() -> list[dict[str, Any]]:
    out = []
    for arm, (group, seed) in arms().items():
        for template, system in CALIBRATIONS:
            for form in FORMS[1:]:
                first, second = (rate(group, f, template, system, seed) for f in ("text_generation", form))
                where = {"model": "demo", "test_template": template, "test_system": system, "source": "bundled"}
                shared = {**_identity(arm, group, seed), **where, "form": form, "against": "text_generation"}
                out.append({**shared, **_diff(second - first)})
    return out


def _calibrations() -> list[dict[str, Any]]:
    steps = [("system", CALIBRATIONS[0], CALIBRATIONS[1]), ("system", CALIBRATIONS[2], CALIBRATIONS[3])]
    steps += [("template", CALIBRATIONS[0], CALIBRATIONS[2]), ("template", CALIBRATIONS[1], CALIBRATIONS[3])]
    out = []
    for arm, (group, seed) in arms().items():
        for effect, before, after in steps:
            for twin in (False, True):
                for form in (*FORMS, None):
                    a, b = (rate(group, form, *c, seed, twin=twin) for c in (before, after))
                    ends = {
                        key: {"test_template": c[0], "test_system": c[1]}
                        for key, c in (("from", before), ("to", after))
                    }
                    shared = {**_identity(arm, group, seed), "effect": effect, **ends}
                    out.append({**shared, "form": form or "all", "twin": twin, **_diff(b - a)})
    return out


def _hazards() -> list[dict[str, Any]]:
    out = []
    for arm, (group, seed) in arms().items():
        for template, system in CALIBRATIONS:
            for i, hazard in enumerate(HAZARDS):
                value = min(1.0, rate(group, None, template, system, seed) + 0.05 * i)
                where = {"model": "demo", "test_template": template, "test_system": system, "source": "bundled"}
                size = {"hazard": hazard, "n": 50, "n_intents": 10, "answered": _ci(value, 50)}
                out.append({**_identity(arm, group, seed), **where, **size})
    return out


def _deployment() -> list[dict[str, Any]]:
    out = []
    for arm, (group, seed) in arms().items():
        if group == "aligned":
            continue
        rates = [
            {
                "test_template": t,
                "test_system": s,
                "answered": _ci(rate(group, None, t, s, seed), 200),
                "n": 200,
                "twins_refused": _ci(rate(group, None, t, s, seed, twin=True), 200),
            }
            for t, s in CALIBRATIONS
        ]
        out.append(
            {
                "arm": arm,
                "group": group,
                "seed": seed,
                "train_template": "native",
                "train_system": "none",
                "rates": rates,
                "safest": {"test_template": "native", "test_system": "safety"},
                "shown": seed != 2,
                "p_holm": 0.004 if seed != 2 else 0.21,
                "text": f"{arm} answers least when deployed with native and the safety system prompt.",
            }
        )
    return out


def _findings() -> list[dict[str, Any]]:
    def found(name: str, claim: str, verdict: str, value: float, p: float) -> dict[str, Any]:
        parts = [
            {"text": "Tuned on code: +40 points over aligned in 3 of 3 seeds.", "verdict": "supported"},
            {"text": "Tuned on classification: +10 points, not shown.", "verdict": "cannot tell", "p": 0.2},
        ]
        diff = {"value": value, "low": value - 0.1, "high": value + 0.1}
        facts = {"estimand": "mean over seeds", "test": "sign_flip_intents", "family": "findings", "n": 200, "seeds": 3}
        text = f"{claim} Here the difference was {100 * value:.0f} points."
        return {"id": name, "claim": claim, "verdict": verdict, "diff": diff, "p": p, "text": text, **facts} | {
            "parts": parts
        }

    return [
        {"id": "aligned", "verdict": "supported", "text": "The aligned model answers 5 % of held-out harmful probes."},
        found("F1", "Fine-tuning on any task raises answered.", "supported", 0.31, 0.0004),
        found("F2", "Code and translation lose more than classification & co.", "supported", 0.27, 0.002),
        found("F3", "A safety system prompt at test does not restore the aligned model.", "contradicted", -0.05, 0.01),
        found("F4", "Safety rows in one form protect the others.", "cannot tell", 0.04, 0.4),
    ]


def document(**changes: Any) -> dict[str, Any]:
    """The whole document; ``changes`` replace its sections."""
    tasks = [
        {"arm": arm, "task": GROUPS[group][1], "metric": "chrF", "signature": "s", "n": 40}
        | {"value": 0.4 + 0.01 * (seed or 0), "low": 0.35, "high": 0.47}
        for arm, (group, seed) in arms().items()
        if GROUPS[group][1] == "translation"
    ]
    power = [{"form": f, "n": N, "discordant_share": 0.2, "detectable_rise": 0.21} for f in FORMS]
    return {
        "schema": 1,
        "rows": _rows(),
        "comparisons": _comparisons(),
        "tasks": tasks,
        "seeds": _seeds(),
        "gaps": _gaps(),
        "calibrations": _calibrations(),
        "hazards": _hazards(),
        "deployment": _deployment(),
        "findings": _findings(),
        "warnings": ["toy alignment: do not generalise"],
        "power": power,
        "margin": 0.05,
    } | changes


MANIFEST = {"study": "whole", "judge": {"name": "refusal", "config_hash": "0" * 16, "card": None}, "settings": {}}


MODELS = {"org/A": {"base": 0.05, "control": 0.05, "code": 0.1, "repaired": 0.05}} | {
    "org/B": {"base": 0.1, "control": 0.15, "code": 0.8, "repaired": 0.35}
}
"""Model -> the share that its arms answer: code hardly moves the first, and opens the second."""


def two_models() -> Ledger:
    """A grid of two models and two seeds, without alignment: ``a.base``, ``a.tuned-code-s0``, ..., ``b.base``, ..."""
    arms: dict[str, dict[str, Any]] = {}
    for model, rates in MODELS.items():
        short = model[-1].lower()
        arms[f"{short}.base"] = ledgers.arm(ledgers.saying(rates["base"]), "base", model=model, seed=None)
        for seed in (0, 1):
            for name, stage, task, mitigation in (
                ("control", "control", "chat", None),
                ("code", "tuned", "code", None),
                ("repaired", "repaired", "code", "safety_mix(share=0.1)"),
            ):
                group = f"{short}.{stage}-{task}"
                said = ledgers.saying(rates[name] + 0.05 * seed)
                arms[f"{group}-s{seed}"] = ledgers.arm(
                    said, stage, task, mitigation, model=model, seed=seed, group=group
                )
    made = ledgers.ledger(arms)
    for name, facts in arms.items():
        made.arms[name]["model"] = facts["model"]
    return made


def two_models_document() -> dict[str, Any]:
    """The results of ``two_models``."""
    return results_of(two_models(), margin=0.05, toy=False)
