"""The Inspect tasks: `probe` (harmful intents and twins in five forms) and `task_rows` (task skill)."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from inspect_ai import Task, task
from inspect_ai.dataset import MemoryDataset, Sample
from inspect_ai.model import ChatMessage, ChatMessageSystem, ChatMessageUser, GenerateConfig
from inspect_ai.solver import generate

from multitask_bench.data import benign
from multitask_bench.errors import ConfigError
from multitask_bench.evals.scorers import judged, reference_match
from multitask_bench.evals.skill_scorers import own_metric, tests_passed
from multitask_bench.models.chat import system_text
from multitask_bench.records import digest, read_json, read_jsonl
from multitask_bench.schema import Probe
from multitask_bench.study.probes import FORMS
from multitask_bench.study.probes import probes as bundled_probes

COMPARABILITY = "1-B"
"""The number moves when scores stop being comparable, the letter when the arguments change."""
MAX_NEW_TOKENS = 48


@task(name="probe")
def probe(
    probes: str | None = None,
    forms: str | None = None,
    intents: int | None = None,
    arm: str = "model",
    system: str = "none",
    template: str = "native",
    judge: str = "refusal",
    judge_settings: dict[str, Any] | None = None,
    judged_when: Literal["now", "later"] = "now",
    max_new_tokens: int = MAX_NEW_TOKENS,
    temperature: float = 0.0,
    facts: dict[str, Any] | None = None,
) -> Task:
    """Harmful probes and benign twins, judged by outcome.

    Args:
        probes: a JSONL file of probes; the bundled test probes when not given.
        forms: comma-separated forms to keep.
        intents: how many bundled test intents; all when not given.
        arm: name of the model being probed, written into every sample.
        system: system prompt policy: none, safety, or own text.
        template: chat template, recorded; the local provider renders it, remote ones their own.
        judge: name of the judge.
        judge_settings: its settings, such as the model that judges.
        judged_when: ``later`` leaves the log without scores, for `mtb` to judge as a whole.
        max_new_tokens: answer length.
        temperature: 0 for greedy answers.
        facts: what else the log says of the arm (stage, model, adapter, seed ...).
    """
    chosen = read_jsonl(Path(probes), Probe) if probes else bundled_probes("test", count=intents)
    if forms is not None:
        wanted = {name.strip() for name in forms.split(",")}
        unknown = wanted - {p.form for p in chosen}
        if unknown:
            raise ConfigError(f"forms: {', '.join(sorted(unknown))} not among {', '.join(FORMS)}.")
        chosen = [p for p in chosen if p.form in wanted]
    shared = {"arm": arm, "test_template": template, "test_system": system}
    return Task(
        name="probe",
        version=COMPARABILITY,
        dataset=MemoryDataset([_sample(p, shared) for p in chosen], name="probes"),
        solver=generate(),
        scorer=None if judged_when == "later" else judged(judge, judge_settings),
        config=GenerateConfig(max_tokens=max_new_tokens, temperature=temperature),
        metadata={
            **shared,
            **(facts or {}),
            "judge": judge,
            "max_new_tokens": max_new_tokens,
            "probe_sets": probe_sets(chosen),
        },
    )


def probe_sets(chosen: list[Probe]) -> dict[str, str]:
    """For each form, sixteen hex digits of the hash of its probes: equal only for equal questions."""
    names = sorted({p.form for p in chosen})
    return {name: digest(sorted((p.id, p.prompt, p.expected) for p in chosen if p.form == name))[:16] for name in names}


def _sample(row: Probe, shared: dict[str, str]) -> Sample:
    turns: list[ChatMessage] = [ChatMessageUser(content=row.prompt)]
    text = row.system if row.system is not None else system_text(shared["test_system"])
    if text is not None:
        turns.insert(0, ChatMessageSystem(content=text))
    return Sample(
        id=row.id,
        input=turns,
        target=row.reference or row.expected,
        metadata={
            **shared,
            "probe_id": row.id,
            **row.model_dump(mode="json", exclude={"id", "prompt", "system", "reference"}),
        },
    )


@task(name="task_rows")
def task_rows(
    task: str = "translation",
    rows_file: str | None = None,
    count: int | None = None,
    arm: str = "model",
    system: str = "none",
    template: str = "native",
    max_new_tokens: int = MAX_NEW_TOKENS,
    temperature: float = 0.0,
    metric: str | None = None,
    losses: str | None = None,
) -> Task:
    """The held-out rows of a benign task, scored against their references; code is run where rows have tests.

    Args:
        task: a bundled task, or the name under which ``rows_file`` is reported.
        rows_file: JSONL of task rows; the bundled test rows when not given.
        count: how many rows; all when not given.
        arm: name of the model, written into every sample as ``task_arm``.
        system: system prompt policy.
        template: chat template, recorded; the local provider renders it.
        max_new_tokens: answer length.
        temperature: 0 for greedy answers.
        metric: an own metric, ``mine.py@score``.
        losses: a JSON file, row id -> (nats, tokens) of its reference answer under the model.
    """
    every = read_jsonl(Path(rows_file), benign.TaskRow) if rows_file else benign.rows(task, "test")
    known = read_json(Path(losses)) if losses else {}
    text = system_text(system)
    head: list[ChatMessage] = [ChatMessageSystem(content=text)] if text else []
    samples = [
        Sample(
            id=row.id,
            input=[*head, ChatMessageUser(content=row.prompt)],
            target=row.answer,
            # Not "arm": readers of the logs take every sample with that key for a probe.
            metadata={"task_arm": arm, "task": task, "test_system": system, **_measured(row, known)},
        )
        for row in every[:count]
    ]
    scorers = [reference_match()]
    scorers += [tests_passed()] if any(row.tests for row in every[:count]) else []
    scorers += [own_metric(metric)] if metric is not None else []
    return Task(
        name=f"task_{task}",
        version=COMPARABILITY,
        dataset=MemoryDataset(samples, name=task),
        solver=generate(),
        scorer=scorers,
        config=GenerateConfig(max_tokens=max_new_tokens, temperature=temperature),
        metadata={
            "task_arm": arm,
            "task": task,
            "test_template": template,
            "test_system": system,
            "max_new_tokens": max_new_tokens,
        },
    )


def _measured(row: benign.TaskRow, losses: dict[str, Any]) -> dict[str, Any]:
    """What a row's sample needs beside question and reference, where there is any of it."""
    tests = {"tests": list(row.tests)} if row.tests else {}
    return tests | ({"loss": losses[row.id]} if row.id in losses else {})
