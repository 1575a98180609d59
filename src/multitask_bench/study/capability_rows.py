"""General capability in a run's results: what `mtb capability --run` left in the run folder, as rows and as doubts.

Logs hold none of it: a score is of weights alone, by lm-eval. Each arm is held against the plain fine-tune that it
mends, and one that mends none against the model before tuning.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from multitask_bench.errors import DataError
from multitask_bench.records import digest, read_json
from multitask_bench.report.capability import label, set_of
from multitask_bench.report.summary import moved
from multitask_bench.stats.crossed import crossed
from multitask_bench.stats.noninferiority import noninferior_binary, verdict_of
from multitask_bench.study.config import Arm, Study

Facts = dict[str, Any]

FILE = "capability.json"
"""In a run folder: the scores of its arms."""
ROW = ("arm", "task", "set", "metric", "signature", "n", "value", "low", "high", "left_out")
"""What a row of results has of a score itself."""
MENDS = ("fix", "left_out", "added")
"""Roles of `study.repairs` that are held against the plain fine-tune."""
BEFORE = {"aligned": ("base",), **dict.fromkeys(("control", "tuned", "repaired"), ("aligned", "base"))}
"""Stage -> the stages of the model before it, the nearest first."""


class Scored(NamedTuple):
    """One set: its row of results, and whether each question was right, by id, for paired tests."""

    row: Facts
    right: dict[str, bool]


class ArmScore(NamedTuple):
    """One arm's score on one set."""

    scored: Scored
    how: str
    """Names the set and how it was asked: only scores that share it are held against each other."""


Set = tuple[str, str]
"""Task and signature of a score (`report.capability.set_of`)."""
Scores = dict[str, dict[Set, ArmScore]]
"""Arm -> set -> score."""


def paired(first: Scored, second: Scored) -> dict[str, int]:
    """Both right and wrong on the same questions: ``a_only, b_only, n`` of `stats.noninferiority`."""
    both = first.right.keys() & second.right.keys()
    a_only = sum(first.right[key] and not second.right[key] for key in both)
    b_only = sum(second.right[key] and not first.right[key] for key in both)
    return {"a_only": a_only, "b_only": b_only, "n": len(both)}


def stored_scores(file: Path) -> dict[str, Facts]:
    """What earlier calls left in a file of `mtb capability`: key -> row and right answers; nothing without a file.

    Raises: DataError: the file is another one.
    """
    if not file.exists():
        return {}
    found = read_json(file) if file.is_file() else None
    if not isinstance(found, dict) or not isinstance(found.get("scored"), dict):
        raise DataError(f"{file}: not written by mtb capability; give another file.")
    return dict(found["scored"])


def made_of(study: Study, arm: Arm, facts: Mapping[str, Any]) -> str:
    """Names an arm's weights, by the header of its logs (`Source.weights`); other weights, another name.

    Logs of an earlier release do not say it: theirs are named by the study and the adapter's name, which stay the same
    where weights are changed in place.
    """
    if facts.get("weights"):
        return str(facts["weights"])
    start = arm.reference if arm.model is None else [arm.model, arm.base]
    return digest([study.align, start, facts.get("adapter")])[:16]


def add_capability(results: Facts, run: Path, study: Study, arms: Mapping[str, Facts]) -> None:
    """Put what was measured in ``run`` into ``results``: rows, a cell beside each fix, and doubts.

    ``arms`` are those of the logs (`Ledger.arms`). Scores of weights that the run no longer has are left out, with a
    warning. Raises: DataError: the file in the run folder is another one.
    """
    scores, margin, stale = _scores(run / FILE, study, arms)
    results["warnings"] += _warnings(scores, stale, [name for name in scores if not arms[name].get("weights")])
    rows = capability_rows(scores, held_against(results, arms), margin=margin)
    if rows:
        results["capability"] = rows
    for one in results.get("repairs") or []:
        plain = _plain_arms(one, arms)
        for row in one["rows"]:
            row["capability"] = _beside(scores, row, plain, arms, margin=margin)
        one["recommendation"]["doubts"] += doubts(one)


def _warnings(scores: Scores, stale: Sequence[str], unsure: Sequence[str]) -> list[str]:
    out = []
    if stale:
        out.append(
            f"general capability of {', '.join(stale)} was not measured on the weights that the run has now, and is "
            "left out; run mtb capability --run again"
        )
    if unsure:
        out.append(
            f"the logs of {', '.join(unsure)} are of an earlier release and do not name their weights: general "
            "capability is shown, though weights that were changed in place would not be noticed"
        )
    versions: dict[tuple[str, str | None], set[Set]] = {}
    for sets in scores.values():
        for of, score in sets.items():
            versions.setdefault((of[0], score.scored.row["set"]), set()).add(of)
    out += [
        f"general capability on {name or task} is of {len(found)} versions of its rows or of lm-eval, which are not "
        "compared; run mtb capability --run again without --arm"
        for (task, name), found in versions.items()
        if len(found) > 1
    ]
    return out


def held_against(results: Mapping[str, Any], arms: Mapping[str, Facts]) -> dict[str, str]:
    """Arm -> the arm that it is held against: the plain fine-tune of its seed, else the model before tuning."""
    out = {name: found for name in arms if (found := _reference(name, arms)) is not None}
    for one in results.get("repairs") or []:
        plain = _plain_arms(one, arms)
        for row in one["rows"]:
            if row["role"] in MENDS and row["guard"] is None:
                out |= {arm: plain[seed] for arm in row["arms"] if (seed := arms[arm].get("seed")) in plain}
    return out


def _plain_arms(one: Mapping[str, Any], arms: Mapping[str, Facts]) -> dict[Any, str]:
    """The arms of a plain fine-tune by their seed."""
    return {arms[arm].get("seed"): arm for row in one["rows"] if row["role"] == "plain" for arm in row["arms"]}


def _reference(name: str, arms: Mapping[str, Facts]) -> str | None:
    """The model before an arm: of the same name, or the only one there is for weights that were given by a folder."""
    facts = arms[name]
    for stage in BEFORE.get(str(facts.get("stage")), ()):
        found = [arm for arm, other in arms.items() if other.get("stage") == stage]
        same = [arm for arm in found if arms[arm].get("model") == facts.get("model")]
        if same or (len(found) == 1 and not facts.get("finetune_task")):
            return (same or found)[0]
    return None


def _scores(file: Path, study: Study, arms: Mapping[str, Facts]) -> tuple[Scores, float, list[str]]:
    """The scores of the arms that there are, the margin, and the arms whose scores are of other weights."""
    stored, out, stale = stored_scores(file), Scores(), dict[str, None]()
    if not stored:
        return out, 0.0, []
    found, cells = read_json(file), {arm.name: arm for arm in study.cells}
    for entry in found.get("arms") or []:
        name = str(entry["arm"])
        if name not in cells or name not in arms:
            continue
        if entry["made"] != made_of(study, cells[name], arms[name]):
            stale[name] = None
            continue
        kept = stored[entry["key"]]
        row = {**kept["row"], "arm": name, "set": entry["set"]}
        out.setdefault(name, {})[set_of(row)] = ArmScore(Scored(row, kept["right"]), str(entry["how"]))
    return out, float(found.get("margin") or 0.0), list(stale)


def capability_rows(scores: Scores, against: Mapping[str, str], *, margin: float) -> list[Facts]:
    """A row for each set and arm; ``diff`` is the arm less the one it is held against, None where they do not pair."""
    out = []
    for asked in _sets(scores):
        for name, sets in scores.items():
            if asked not in sets:
                continue
            row = {key: sets[asked].scored.row[key] for key in ROW}
            other = against.get(name)
            test = _against(_pairs(scores, asked, [(other, name)] if other else []), margin)
            row |= {"against": other if test else None, "margin": margin if test else None}
            row |= {"diff": {key: test[key] for key in ("value", "low", "high")} if test else None}
            out.append({**row, "n_pairs": test and test["n"], "verdict": test and test["verdict"]})
    return out


def _beside(
    scores: Scores, row: Mapping[str, Any], plain: Mapping[Any, str], arms: Mapping[str, Facts], *, margin: float
) -> list[Facts]:
    """What stands beside a model in the table of fixes, a set each; empty behind a guard, whose rows were not asked."""
    if row["guard"] is not None:
        return []
    out = []
    for asked in _sets(scores):
        found = [scores[arm][asked].scored.row for arm in row["arms"] if asked in scores.get(arm, {})]
        if not found:
            continue
        values = [float(one["value"]) for one in found]
        several = len(found) > 1
        pairs = [(plain[seed], arm) for arm in row["arms"] if (seed := arms[arm].get("seed")) in plain]
        out.append(
            {
                **{key: found[0][key] for key in ("task", "set", "metric", "signature")},
                "n": min(int(one["n"]) for one in found),
                "seeds": len(found),
                "value": sum(values) / len(values),
                **{key: None if several else found[0][key] for key in ("low", "high")},
                "range": [min(values), max(values)] if several else None,
                "left_out": found[0]["left_out"],
                "against_plain": _against(_pairs(scores, asked, pairs), margin) if row["role"] in MENDS else None,
            }
        )
    return out


def _sets(scores: Scores) -> list[Set]:
    return list(dict.fromkeys(asked for sets in scores.values() for asked in sets))


def _pairs(scores: Scores, asked: Set, arms: Sequence[tuple[str, str]]) -> list[tuple[Scored, Scored]]:
    """The scores of pairs of arms that were asked one set in one way."""
    both = [[scores.get(arm, {}).get(asked) for arm in pair] for pair in arms]
    return [(a.scored, b.scored) for a, b in both if a is not None and b is not None and a.how == b.how]


def _against(pairs: Sequence[tuple[Scored, Scored]], margin: float) -> Facts | None:
    """The second of each pair less the first, question by question; a pair a seed. None without a common question.

    One seed, or no question that moved: the exact paired test, with one-sided limits. Several: the whole 95 %
    interval over questions and seeds against the margin.
    """
    moves = [{key: float(b.right[key]) - float(a.right[key]) for key in a.right if key in b.right} for a, b in pairs]
    common = sorted(set.intersection(*(set(move) for move in moves))) if moves else []
    if not common:
        return None
    shared: Facts = {"margin": margin, "seeds": len(pairs)}
    if len(pairs) == 1 or not any(move[key] for move in moves for key in common):
        counts = {**paired(*pairs[0]), "n": len(common)}
        exact = noninferior_binary(**counts, margin=margin)
        return {**shared, **exact.model_dump(include={"value", "low", "high", "n", "verdict"})}
    over = crossed([[move[key] for key in common] for move in moves])
    ends = {"value": over.value, "low": over.low, "high": over.high}
    return {**shared, **ends, "n": len(common), "verdict": verdict_of(over.low, over.high, margin)}


def doubts(one: Mapping[str, Any]) -> list[str]:
    """What the recommended fix costs in general capability, as a doubt; of the losses of all fixes if none is.

    A loss is named where the whole interval lies below 0. Where nothing was measured of them, that is said, with what
    the plain fine-tune scores.
    """
    name = one["recommendation"]["name"]
    fixes = [row for row in one["rows"] if (row["name"] == name if name else row["role"] == "fix")]
    if not any(row["capability"] for row in fixes):
        return [_unmeasured(one, fixes[0] if name else None)]
    tests = [(row, item, item["against_plain"]) for row in fixes for item in row["capability"] if item["against_plain"]]
    if not tests:
        return [f"general capability was not compared with that of {one['plain']}"]
    fell, unsure = [], []
    for row, item, test in tests:
        text = f"{label(item)} {moved(test)} points, n = {test['n']}"
        text = text if name else f"{row['name']}, {text}"
        if test["high"] is not None and test["high"] < 0:
            fell.append(text)
        elif test["verdict"] != "noninferior":
            unsure.append(text)
    out = [f"general capability fell: {'; '.join(fell)}"] if fell else []
    if unsure and name:
        points = f"{100 * tests[0][2]['margin']:g} points"
        out.append(f"general capability: a loss of more than {points} is not ruled out: {'; '.join(unsure)}")
    return out


def _unmeasured(one: Mapping[str, Any], fix: Mapping[str, Any] | None) -> str:
    """That a fix has no score, or without one none of them, and why; with what the plain fine-tune scores."""
    text = "general capability was not measured"
    if not any(row["capability"] for row in one["rows"]):
        return text
    if fix is None:
        text += " for any fix"
    elif fix["guard"] is not None:
        text += " behind a guard"
    elif "on_prompt" in fix["cost"]["hooks"]:
        text += " under its system prompt"
    else:
        text += f" for {fix['name']}"
    plain = [_score_text(item) for row in one["rows"] if row["role"] == "plain" for item in row["capability"]]
    return f"{text}; {one['plain']} scores {'; '.join(plain)}" if plain else f"{text}, nor for {one['plain']}"


def _score_text(item: Mapping[str, Any]) -> str:
    """A score in percent with its interval, over several seeds with their range."""
    value, n = f"{label(item)} {100 * item['value']:.1f} %", f"n = {item['n']}"
    if item["range"] is not None:
        low, high = (f"{100 * end:.1f}" for end in item["range"])
        return f"{value} ({item['seeds']} seeds: {low} to {high}), {n}"
    return f"{value} [{100 * item['low']:.1f}, {100 * item['high']:.1f}], {n}"
