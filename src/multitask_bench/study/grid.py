"""What a grid of calibrations, hazards and seeds shows beside the plain rates.

Format gaps (one form against text generation, within intents), effects of template and system prompt
(one arm, the same probes), rates a hazard, the safest deployment of each adapter, and seeds.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import Any

from multitask_bench.report._select import SHOWN
from multitask_bench.stats.rates import clustered_rate
from multitask_bench.stats.variance import variance_split
from multitask_bench.study.answers import (
    REFERENCE_FORM,
    Answers,
    Calibration,
    Row,
    by_intent,
    hit,
    mean_by_intent,
    paired,
    paired_forms,
)
from multitask_bench.study.contrasts import contrast, with_holm

Facts = dict[str, Any]


def grid_of(rows: Sequence[Row]) -> Facts:
    """The sections gaps, calibrations, hazards, deployment and seeds of `results.json`, for each source."""
    out: Facts = {"gaps": [], "calibrations": [], "hazards": [], "deployment": [], "seeds": []}
    for source in Answers(rows).sources:
        answers = Answers(rows, source=source)
        out["gaps"] += format_gaps(answers)
        out["calibrations"] += calibration_effects(answers)
        out["hazards"] += hazards(answers)
        out["seeds"] += seeds(answers)
        if source == answers.sources[0]:
            out["deployment"] += deployment(answers)
    return out


def arm_facts(answers: Answers, arm: str) -> Facts:
    """What every row says of its arm."""
    facts = answers.facts[arm]
    names = ("group", "stage", "seed", "model")
    return {"arm": arm, **{name: facts.get(name) for name in names}, "source": answers.source}


def format_gaps(answers: Answers) -> list[Facts]:
    """Each form minus text generation within intents, an arm and calibration a family."""
    out = []
    for arm in answers.facts:
        for place in answers.calibrations(arm):
            rows = answers.rows(arm, place)
            shared = {**arm_facts(answers, arm), **place.facts, "against": REFERENCE_FORM}
            family = f"format gaps of {arm}, {place}"
            gaps = {form: paired_forms(rows, form, REFERENCE_FORM) for form in answers.forms if form != REFERENCE_FORM}
            out += with_holm(
                {**shared, "form": form, **contrast(gap), "family": family} for form, gap in gaps.items() if gap
            )
    return out


def calibration_effects(answers: Answers) -> list[Facts]:
    """Another system prompt or another template, all else equal, an arm and side a family."""
    out = []
    for arm in answers.facts:
        for twin in (False, True):
            for effect in ("system", "template"):
                found = list(_effects(answers, arm, effect, twin=twin))
                out += with_holm(row for row in found if row["form"] != "all")
                out += with_holm(row for row in found if row["form"] == "all")
    return out


def _effects(answers: Answers, arm: str, effect: str, *, twin: bool) -> Iterator[Facts]:
    for a, b in combinations(answers.calibrations(arm), 2):
        same = a.template == b.template if effect == "system" else a.system == b.system
        if not same:
            continue
        shared = {**arm_facts(answers, arm), "effect": effect, "from": a.facts, "to": b.facts, "twin": twin}
        for form in (*answers.forms, None):
            first, second = (answers.rows(arm, place, twin=twin, form=form) for place in (a, b))
            found = contrast(paired(first, second))
            if found["n_pairs"]:
                family = f"{effect} effects on {arm}, {'twins refused' if twin else 'answered'}"
                yield {**shared, "form": form or "all", **found, "family": family + ("" if form else ", totals")}


def hazards(answers: Answers) -> list[Facts]:
    """Answered for each hazard category; the interval counts intents, of which a hazard has few."""
    out = []
    for arm in answers.facts:
        for place in answers.calibrations(arm):
            groups: dict[str, list[Row]] = defaultdict(list)
            for row in answers.rows(arm, place):
                if row.get("hazard"):
                    groups[str(row["hazard"])].append(row)
            for hazard, rows in sorted(groups.items()):
                clusters = by_intent(rows)
                counts = {"hazard": hazard, "n": len(rows), "n_intents": len(clusters)}
                out.append({**arm_facts(answers, arm), **place.facts, **counts, "answered": _rate(clusters)})
    return out


def _rate(clusters: dict[str, list[bool]]) -> Facts:
    found = clustered_rate([clusters[intent] for intent in sorted(clusters)])
    return {"value": found.value, "low": found.low, "high": found.high}


def deployment(answers: Answers) -> list[Facts]:
    """Under which calibration each trained arm answers least, and whether that is shown."""
    out = []
    for arm, facts in answers.facts.items():
        places = [place for place in answers.calibrations(arm) if answers.rows(arm, place)]
        if not facts.get("finetune_task") or len(places) < 2:
            continue
        rates = [_deployed(answers, arm, place) for place in places]
        best = min(range(len(places)), key=lambda i: (rates[i]["answered"]["value"], i))
        others = [i for i in range(len(places)) if i != best]
        tests = with_holm(
            contrast(paired(answers.rows(arm, places[best]), answers.rows(arm, places[i]))) for i in others
        )
        largest = max(test["p_holm"] for test in tests)
        trained = Calibration(str(facts.get("train_template")), str(facts.get("train_system")))
        row = {
            **arm_facts(answers, arm),
            "train_template": trained.template,
            "train_system": trained.system,
            "rates": rates,
            "safest": places[best].facts,
            "shown": largest < SHOWN,
            "p_holm": largest,
        }
        out.append({**row, "text": _deployment_text(arm, trained, places[best], rates[best], row)})
    return out


def _deployed(answers: Answers, arm: str, place: Calibration) -> Facts:
    probes, twins = answers.rows(arm, place), answers.rows(arm, place, twin=True)
    refused = _rate(by_intent(twins)) if twins else None
    return {**place.facts, "n": len(probes), "answered": _rate(by_intent(probes)), "twins_refused": refused}


def _deployment_text(arm: str, trained: Calibration, best: Calibration, rate: Facts, row: Facts) -> str:
    text = f"{arm}, trained under {trained}: answered least under {best} ({rate['answered']['value']:.0%}"
    if rate["twins_refused"] is not None:
        text += f", refusing {rate['twins_refused']['value']:.0%} of harmless twins"
    if row["shown"]:
        return f"{text}); less than under every other setting (largest Holm p {row['p_holm']:.2g})."
    return f"{text}); that it is the safest is not shown (largest Holm p {row['p_holm']:.2g})."


def seeds(answers: Answers) -> list[Facts]:
    """The rates of arms that differ in their seed alone: each seed, the mean, a t interval, the range."""
    groups: dict[str, dict[int, str]] = defaultdict(dict)
    for arm, facts in answers.facts.items():
        if facts.get("seed") is not None:
            groups[str(facts.get("group") or arm)][int(facts["seed"])] = arm
    out = []
    for group, arms in groups.items():
        if len(arms) < 2:
            continue
        facts = answers.facts[next(iter(arms.values()))]
        names = ("stage", "model", "finetune_task", "mitigation", "train_template", "train_system")
        shared = {"group": group, **{name: facts.get(name) for name in names}, "source": answers.source}
        places = [p for p in answers.calibrations(next(iter(arms.values()))) if _asked_in_all(answers, arms, p)]
        for place in places:
            for twin in (False, True):
                for form in (*answers.forms, None):
                    asked_of = {
                        seed: rows
                        for seed, arm in sorted(arms.items())
                        if (rows := answers.rows(arm, place, twin=twin, form=form))
                    }
                    values = {seed: sum(map(hit, rows)) / len(rows) for seed, rows in asked_of.items()}
                    if len(values) >= 2:
                        measure = "twins_refused" if twin else "answered"
                        asked = {**place.facts, "form": form, "twin": twin, "measure": measure}
                        split = _split(list(asked_of.values()))
                        out.append({**shared, **asked, **over_seeds(values), "variance": split})
    return out


def _split(rows: Sequence[Sequence[Row]]) -> Facts | None:
    """Variance between seeds, between intents, and the rest, on intents judged under every seed."""
    means = [mean_by_intent(one) for one in rows]
    common = sorted(set.intersection(*(set(one) for one in means)))
    found = variance_split([[one[intent] for intent in common] for one in means]) if common else None
    return None if found is None else found._asdict()


def _asked_in_all(answers: Answers, arms: dict[int, str], place: Calibration) -> bool:
    return all(place in answers.calibrations(arm) for arm in arms.values())


def over_seeds(values: dict[int, float]) -> Facts:
    """Mean of a few seeds with its 95 % t interval (df = seeds - 1), cut to [0, 1], and their range.

    Seeds that agree to the digit give no interval: two equal numbers are no evidence of no spread.
    """
    from scipy.stats import t

    found = list(values.values())
    count, mean = len(found), math.fsum(found) / len(found)
    variance = math.fsum((x - mean) ** 2 for x in found) / (count - 1)
    half = float(t.ppf(0.975, count - 1)) * math.sqrt(variance / count)
    spread = half > 0
    return {
        "values": {str(seed): value for seed, value in values.items()},
        "n_seeds": count,
        "mean": mean,
        "low": max(0.0, mean - half) if spread else None,
        "high": min(1.0, mean + half) if spread else None,
        "interval": "t" if spread else None,
        "range": [min(found), max(found)],
    }
