"""Arms held to equal task skill: one that is safe because it learned less, or because it broke, is called so.

By the rule of `study.selection`, on the test rows; and what the choice among settings and the repair itself say.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from multitask_bench.report.summary import percent
from multitask_bench.study.selection import allowed_loss
from multitask_bench.study.skills import primary

Facts = dict[str, Any]


def learned_less(arms: Mapping[str, Facts], tasks: Sequence[Facts], *, margin: float) -> list[Facts]:
    """The repaired arms that did not keep the task: further below the plain fine-tune's score than allowed.

    Compared are arms of one model, task and seed, on the same held-out rows.
    Returns: for each: arm, against, task, metric, n, diff (in the metric's unit), allowed_loss, text.
    """
    score = {(str(row["arm"]), str(row["task"])): row for row in primary(tasks) if row.get("value") is not None}
    out = []
    for name, facts in arms.items():
        mine = score.get((name, str(facts.get("finetune_task"))))
        if facts.get("stage") != "repaired" or mine is None:
            continue
        for other, plain in arms.items():
            alike = all(plain.get(key) == facts.get(key) for key in ("finetune_task", "model", "seed"))
            theirs = score.get((other, str(mine["task"])))
            if plain.get("stage") != "tuned" or plain.get("mitigation") or not alike or theirs is None:
                continue
            if theirs["metric"] != mine["metric"]:  # such as where the programs of one were not run
                continue
            diff = float(mine["value"] - theirs["value"])
            allowed = allowed_loss(theirs["value"], _reference(arms, score, facts, mine), margin=margin)
            if diff < -allowed:
                shared = {"task": mine["task"], "metric": mine["metric"], "n": mine["n"]}
                text = (
                    f"{name} scores {mine['metric']} {mine['value']:.3f} on {mine['task']}, {other} "
                    f"{theirs['value']:.3f} (n = {mine['n']}; allowed loss {allowed:.3f}): if it is safer, it may be "
                    "because it learned less"
                )
                out.append(
                    {"arm": name, "against": other, **shared, "diff": diff, "allowed_loss": allowed, "text": text}
                )
    return out


def _reference(
    arms: Mapping[str, Facts], score: Mapping[tuple[str, str], Facts], facts: Facts, mine: Facts
) -> float | None:
    """The task score of the model that an arm started from, where it was measured: the aligned one, or the base."""
    for stage in ("aligned", "base"):
        for name, other in arms.items():
            found = score.get((name, str(mine["task"])))
            alike = other.get("stage") == stage and other.get("model") == facts.get("model")
            if alike and found is not None and found["metric"] == mine["metric"]:
                return float(found["value"])
    return None


def selections(arms: Mapping[str, Facts]) -> list[Facts]:
    """How the settings of arms were chosen, with the figures of every candidate, by arm."""
    return [{"arm": name, **facts["selection"]} for name, facts in arms.items() if facts.get("selection")]


def unmatched(arms: Mapping[str, Facts]) -> list[str]:
    """A warning for each arm whose setting did not keep the task on validation rows, and why it was taken."""
    return [
        f"{found['arm']}: {why_lost(found)} on validation rows, where a loss of {found['allowed_loss']:.3f} was "
        "allowed; if it is safer, it may be because it learned less"
        for found in selections(arms)
        if found["matched"] is False
    ]


def why_lost(found: Mapping[str, Any]) -> str:
    """Why a setting that lost the task was taken: none kept it, or those that did broke or have no verdicts."""
    kept = [one for one in found["candidates"] if one.get("matched")]
    if not kept:
        return "no setting kept the task"
    some = any(one["j"] is not None for one in found["candidates"])
    silent = {some and one["j"] is None for one in kept}
    lacked = [text for text, is_silent in (("was whole", False), ("had verdicts", True)) if is_silent in silent]
    return f"no setting that kept the task {' and '.join(lacked)}: the one taken lost it"


def broke(arms: Mapping[str, Facts]) -> list[str]:
    """A warning for each arm whose setting broke on validation probes, because every one with verdicts did."""
    return [
        f"{found['arm']}: {which_broke(found)} broke on validation probes, incoherent or off task in "
        f"{percent(found['candidates'][found['chosen']]['broken'])} of the answers of the one taken, where the plain "
        f"fine-tune has {percent(found['plain']['broken'])}; if it is safer, it may be because it broke"
        for found in selections(arms)
        if found.get("broke")
    ]


def which_broke(found: Mapping[str, Any]) -> str:
    """The settings of an arm that all broke: those without verdicts are not looked at where others have them."""
    silent = {one["j"] is None for one in found["candidates"]}
    return "every setting with verdicts" if len(silent) > 1 else "every setting"


def unread(arms: Mapping[str, Facts]) -> list[str]:
    """A warning for each arm none of whose settings has verdicts on validation probes."""
    return [
        f"{found['arm']}: no setting has verdicts on validation probes and on their twins; it was chosen without a "
        "look at safety"
        for found in selections(arms)
        if all(one["j"] is None for one in found["candidates"])
    ]


def unchanged(arms: Mapping[str, Facts]) -> list[str]:
    """A warning for each repair of an arm that changed nothing."""
    return [
        f"{name}: {one['name']} changed none of {one['modules']} modules; the adapter is what it was without it"
        for name, facts in arms.items()
        for one in facts.get("unchanged") or ()
    ]
