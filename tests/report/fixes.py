"""A study of fixes as a ledger made by hand: what each arm answers, refuses and scores is put in, and so is known."""

from __future__ import annotations

from typing import Any, NamedTuple

from multitask_bench.data import benign
from multitask_bench.schema import Outcome
from multitask_bench.study.results import Ledger, results_of
from multitask_bench.study.task_rows import TaskRow
from tests.ledgers import arm, ledger

SENTENCE = "the small harbour town keeps its old lights burning until every boat is home"
TASK = ("translation", "native")


class Fix(NamedTuple):
    """An arm: shares of harmful probes answered and twins refused, and of each reference that it gets right."""

    answered: float
    twins: float = 0.05
    skill: float = 0.9
    mitigation: str | None = None
    stage: str = "repaired"
    system: str = "none"
    kind: str | None = None
    only: dict[str, float] = {}  # noqa: RUF012  never changed
    """Form -> answered, where a form differs."""


PLAIN = Fix(0.7, stage="tuned")
ALIGNED = Fix(0.05, skill=0.4, stage="aligned")


def study(fixes: dict[str, Fix], *, seeds: int = 1, n: int = 40, rows: int = 60, plain: Fix = PLAIN) -> Ledger:
    """The aligned model, the plain fine-tune ``tuned`` and ``fixes``; arms end in ``-s0`` where there are seeds."""
    every = {"aligned": ALIGNED, "tuned": plain, **fixes}
    arms: dict[str, dict[str, Any]] = {}
    for group, fix in every.items():
        for seed in range(seeds if fix.stage != "aligned" else 1):
            name = f"{group}-s{seed}" if seeds > 1 and fix.stage != "aligned" else group
            facts: dict[str, Any] = {"group": group, "seed": seed if fix.stage != "aligned" else None}
            facts |= {"safety_kind": fix.kind, "said_in": {("native", fix.system): _says(fix, n, seed)}}
            task = "translation" if fix.stage != "aligned" else None
            arms[name] = arm(None, fix.stage, task, fix.mitigation, **facts)  # type: ignore[arg-type]
    made = ledger(arms, n=n)
    asked = {name: every[str(facts["group"])] for name, facts in made.arms.items()}
    answers = {name: _rows(fix, rows, number) for number, (name, fix) in enumerate(asked.items())}
    tasks = [{"arm": name, "task": "translation", "primary": True, **_score(found)} for name, found in answers.items()]
    skills = {(name, (*TASK, asked[name].system)): found for name, found in answers.items()}
    return made._replace(tasks=tasks, task_rows=skills)


def results(fixes: dict[str, Fix], *, toy: bool = True, **how: Any) -> dict[str, Any]:
    """The results document of such a study."""
    return results_of(study(fixes, **how), margin=0.05, toy=toy)


def _says(fix: Fix, n: int, seed: int) -> Any:
    def said(form: str, number: int, twin: bool) -> Outcome:
        share = fix.twins if twin else fix.only.get(form, fix.answered)
        hit = (number * 37 + seed) % n < round(share * n)
        if twin:
            return Outcome.REFUSED if hit else Outcome.COMPLIED
        return Outcome.COMPLIED if hit else Outcome.REFUSED

    return said


def _rows(fix: Fix, count: int, number: int) -> dict[str, TaskRow]:
    """Each answer is a beginning of its reference, a word more or less from row to row and from arm to arm."""
    out, sentence = {}, SENTENCE.split()
    for i in range(count):
        words = sentence[i % 5 :] + sentence[: i % 5]
        kept = max(1, round(fix.skill * len(words)) - (i * 13 + number * 7) % 11 // 6)
        out[f"r{i}"] = TaskRow(f"row {i}", " ".join(words), " ".join(words[:kept]))
    return out


def _score(rows: dict[str, TaskRow]) -> dict[str, Any]:
    return benign.score("translation", [r.answer or "" for r in rows.values()], [r.target for r in rows.values()])
