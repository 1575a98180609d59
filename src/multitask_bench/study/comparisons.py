"""Pairs of answers to the same probes, and what two arms differ by on them."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import cast

from multitask_bench.report._select import SHOWN
from multitask_bench.schema import UNJUDGED
from multitask_bench.stats.crossed import crossed
from multitask_bench.study.answers import BUNDLED_SOURCE, Calibration, is_hit
from multitask_bench.study.contrasts import contrast, over_intents, over_pairs, with_holm
from multitask_bench.study.corrections import CardCorrections, Corrections, Measure, corrected_difference, tipping
from multitask_bench.study.ledger import Entry, Facts, Ledger, sources_of
from multitask_bench.study.probes import form_rank

Judged = dict[tuple[str, Calibration, bool, str], dict[str, Entry]]
"""(arm, calibration, twin, source) -> probe -> its answer: those that have a verdict and are not disputed."""

Side = Mapping[int, Mapping[str, Entry]]
"""Seed -> probe -> the answer of one model as it is served; all of one side, probes or twins."""


def judged(ledger: Ledger) -> Judged:
    """Every answer that counts, by arm, calibration, side and source."""
    out: Judged = defaultdict(dict)
    for e in ledger.entries:
        m = e.meta
        if e.outcome not in UNJUDGED and m["expected"] == ("answer" if m["twin"] else "refuse"):
            place = Calibration(str(m["test_template"]), str(m["test_system"]))
            out[e.arm, place, bool(m["twin"]), str(m["source"])][str(m["probe_id"])] = e
    return out


def _pairs(first: Mapping[str, Entry], second: Mapping[str, Entry]) -> dict[str, list[tuple[Entry, Entry]]]:
    """For each form, the answers of two arms to the same probes."""
    out: dict[str, list[tuple[Entry, Entry]]] = {}
    for probe_id in sorted(first.keys() & second.keys()):
        out.setdefault(str(first[probe_id].meta["form"]), []).append((first[probe_id], second[probe_id]))
    return dict(sorted(out.items(), key=lambda item: form_rank(item[0])))


def _arm_pairs(ledger: Ledger) -> list[tuple[str, str]]:
    """Which arms are compared: each with its reference, with the control, a repair with its plain fine-tune.

    Only arms of one model, and of one training seed where both were trained.
    """
    stage = {name: str(facts.get("stage")) for name, facts in ledger.arms.items()}
    task = {name: facts.get("finetune_task") for name, facts in ledger.arms.items()}
    references = [n for n, s in stage.items() if s == "aligned"] or [n for n, s in stage.items() if s == "base"]
    controls = [n for n, s in stage.items() if s == "control"]
    later = [n for n, s in stage.items() if s in ("control", "tuned", "repaired")]
    out = [(a, b) for a in references for b in later]
    out += [(a, b) for a in controls for b in later if stage[b] != "control"]
    out += [
        (a, b)
        for a, sa in stage.items()
        for b, sb in stage.items()
        if sa == "tuned" and sb == "repaired" and task[a] == task[b]
    ]
    return [(a, b) for a, b in out if _of_one_kind(ledger.arms[a], ledger.arms[b])]


def _of_one_kind(a: Facts, b: Facts) -> bool:
    """Whether two arms may be compared: a grid of models or of seeds is not compared across them.

    Models that were given by name or folder have no grid; those are what the user put side by side.
    """
    trained = a.get("finetune_task") and b.get("finetune_task")
    if trained and a.get("model") != b.get("model"):
        return False
    if trained and a.get("seed") is not None and b.get("seed") is not None:
        return bool(a["seed"] == b["seed"])
    return not b.get("finetune_task") or a.get("model") == b.get("model") or a.get("finetune_task") is not None


def comparisons(ledger: Ledger, corrections: Corrections, card: CardCorrections) -> list[Facts]:
    """Every pair of arms that may be compared, a row a form and one over all forms, in every calibration.

    ``corrections`` correct a difference where they can; where they cannot, the tipping point by the judge's ``card``
    stands beside it.
    """
    out: list[Facts] = []
    by_place = judged(ledger)
    asked = {Calibration(str(e.meta["test_template"]), str(e.meta["test_system"])) for e in ledger.entries}
    for source in sources_of(ledger):
        for a, b in _arm_pairs(ledger):
            for place in sorted(asked):
                for twin in (False, True):
                    shared = {"a": a, "b": b, **place.facts, "twin": twin, "source": source}
                    sides = (by_place.get((arm, place, twin, source), {}) for arm in (a, b))
                    by_form = _pairs(*sides)
                    for row in _compared(by_form, shared, place):
                        form = None if row["form"] == "all" else str(row["form"])
                        pairs = (
                            [pair for of_form in by_form.values() for pair in of_form]
                            if form is None
                            else by_form[form]
                        )
                        out.append({**row, **_corrected(row, form, pairs, corrections, card)})
    return out


def _corrected(
    row: Facts, form: str | None, pairs: list[tuple[Entry, Entry]], corrections: Corrections, card: CardCorrections
) -> Facts:
    """The difference corrected, or its tipping point."""
    measure = cast(Measure, row["measure"])
    found = corrected_difference(corrections, row["a"], row["b"], form, measure, pairs)
    return {**found, "tipping": tipping(pairs, row["diff"], measure, card) if found["diff_corrected"] is None else None}


def _compared(by_form: dict[str, list[tuple[Entry, Entry]]], shared: Facts, place: Calibration) -> list[Facts]:
    """Per form by exact McNemar with Holm over the forms; in total by sign-flips of whole intents."""
    if not by_form:
        return []
    twin = shared["twin"]
    measure = "twins_refused" if twin else "answered"
    shared = {**shared, "measure": measure}
    family = f"{measure}: {shared['b']} against {shared['a']}, {{}}, {place}"
    family += "" if shared["source"].startswith(BUNDLED_SOURCE) else f", source {shared['source']}"

    rows, every = [], defaultdict(list)
    for form, pairs in by_form.items():
        moves = [int(is_hit(y.outcome, twin=twin)) - int(is_hit(x.outcome, twin=twin)) for x, y in pairs]
        for (x, _), move in zip(pairs, moves, strict=True):
            every[str(x.meta["intent_id"])].append(move)
        rows.append({**shared, "form": form, **over_pairs(moves), "family": family.format("forms")})
    rows = with_holm(rows)
    if len(by_form) > 1:
        rows += with_holm([{**shared, "form": "all", **over_intents(every), "family": family.format("total")}])
    return rows


def as_served(before: Side, after: Side, *, twin: bool, form: str | None, card: CardCorrections) -> Facts | None:
    """``after`` minus ``before`` on the same probes, each as it is served: their prompts may differ.

    One seed is a matter of pairs and of intents (`contrasts.contrast`) and speaks of these adapters. Over several,
    intents and seeds both vary (`stats.crossed`), on the probes that have a verdict in every arm.

    Returns: ``form`` (or ``all``), ``measure``, ``n_pairs`` (a seed), ``seeds``, ``by_seed``, ``diff``, ``p``,
    ``test``, ``direction`` (1, -1 or 0: where the difference lies by its interval, in every seed), ``tipping``; with
    one seed also ``a_only`` and ``b_only``. None where no probe has a verdict in all.
    """
    seeds = sorted(before.keys() & after.keys())
    common = [before[seed].keys() & after[seed].keys() for seed in seeds]
    shared = sorted(
        probe
        for probe in (set.intersection(*map(set, common)) if common else set())
        if form in (None, before[seeds[0]][probe].meta["form"])
    )
    if not shared:
        return None
    pairs = [(before[seed][probe], after[seed][probe]) for seed in seeds for probe in shared]
    measure: Measure = "twins_refused" if twin else "answered"
    facts: Facts = {"form": form or "all", "measure": measure, "seeds": len(seeds)}
    tables = [_moves(before[seed], after[seed], shared, twin=twin) for seed in seeds]
    if len(seeds) == 1:
        facts |= contrast(tables[0])
        value, p = facts["diff"]["value"], facts["p"]
        facts |= {"by_seed": [value], "direction": (value > 0) - (value < 0) if p < SHOWN else 0}
    else:
        found = crossed([[math.fsum(moves) / len(moves) for moves in table.values()] for table in tables])
        diff = {"value": found.value, "low": found.low, "high": found.high}
        facts |= {"n_pairs": len(shared), "diff": diff, "p": found.p, "test": CROSSED}
        facts |= {"by_seed": list(found.by_seed), "direction": found.shown}
    return {**facts, "tipping": tipping(pairs, facts["diff"], measure, card)}


CROSSED = "intents_by_seeds"


def _moves(
    before: Mapping[str, Entry], after: Mapping[str, Entry], probes: Iterable[str], *, twin: bool
) -> dict[str, list[int]]:
    """Intent -> what changed on each of its probes, in the order of the probes."""
    out: dict[str, list[int]] = defaultdict(list)
    for probe in probes:
        x, y = before[probe], after[probe]
        out[str(x.meta["intent_id"])].append(int(is_hit(y.outcome, twin=twin)) - int(is_hit(x.outcome, twin=twin)))
    return out
