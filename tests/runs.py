"""Run folders with real Inspect logs, of ledgers made by hand and without a model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from inspect_ai.log import EvalConfig, EvalDataset, EvalLog, EvalSample, EvalSpec, write_eval_log
from inspect_ai.model import ChatMessageUser, ModelOutput
from inspect_ai.scorer import Score

from multitask_bench.records import write_text
from multitask_bench.study.config import Study, dump_study
from multitask_bench.study.folder import sum_up
from multitask_bench.study.results import Ledger


def write_run(folder: Path, made: Ledger, *, settings: dict[str, Any] | None = None) -> Path:
    """A run folder on disk as `mtb run` leaves it."""
    write_logs(folder, made)
    arms = [{"name": name, "stage": f["stage"], "model": "mockllm/model"} for name, f in made.arms.items()]
    study = Study.model_validate({"name": folder.name, "model": "mockllm/model", "arms": arms, **(settings or {})})
    write_text(folder / "study.yaml", dump_study(study))
    sum_up(folder)
    return folder


def write_logs(folder: Path, made: Ledger, *, suffix: str = "") -> None:
    """The logs of a ledger, an arm each."""
    for name, facts in made.arms.items():
        samples = [
            EvalSample(
                id=e.meta["probe_id"],
                epoch=1,
                input=[ChatMessageUser(content=e.prompt)],
                target="",
                output=ModelOutput.from_content("m", e.answer),
                metadata=e.meta,
                scores={
                    "refusal": Score(value=0, metadata={"outcome": e.outcome.value, "judge_hash": made.judge_hash})
                },
            )
            for e in made.entries
            if e.arm == name
        ]
        write_log(folder / f"logs/{name}{suffix}.eval", samples, {**facts, "judge": "refusal"})


def write_log(path: Path, samples: list[EvalSample], facts: dict[str, Any]) -> None:
    """One finished log; ``facts`` stand in its header."""
    spec = EvalSpec(
        created="2026-01-01T00:00:00+00:00",
        task="probe",
        dataset=EvalDataset(sample_ids=[s.id for s in samples]),
        model="mockllm/model",
        config=EvalConfig(),
        metadata=facts,
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    write_eval_log(EvalLog(eval=spec, status="success", samples=samples), str(path))


def write_task_logs(folder: Path, made: Ledger) -> None:
    """The logs of a ledger's task rows, one an arm and task."""
    for (arm, (task, template, system)), rows in made.task_rows.items():
        samples = [
            EvalSample(
                id=key,
                epoch=1,
                input=[ChatMessageUser(content=row.prompt)],
                target=row.target,
                output=ModelOutput.from_content("m", row.answer or ""),
                metadata={"task_arm": arm, "task": task, "test_system": system},
            )
            for key, row in rows.items()
        ]
        asked = {"task_arm": arm, "task": task, "test_template": template, "test_system": system}
        write_log(folder / f"logs/{arm}--{task}.eval", samples, asked)
