"""A study as steps, each keyed by the hash of its inputs.

A key holds settings, data and the keys of earlier steps, never a path, a time or a machine: a
step folder can be copied to another machine and is found there. What two arms share has one key.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from multitask_bench.data import benign
from multitask_bench.data.prompts import chat_file, own_probes
from multitask_bench.data.sources import read_list
from multitask_bench.errors import ConfigError
from multitask_bench.judges import judges
from multitask_bench.models.load import Local, Remote, cache_folder, model_digest, open_model
from multitask_bench.records import digest
from multitask_bench.schema import Conversation, Probe, Split
from multitask_bench.study import rows
from multitask_bench.study.config import Arm, Study
from multitask_bench.study.probes import listed_probes, probes
from multitask_bench.study.training_file import own_rows, probes_held
from multitask_bench.train.recipe import Recipe

CODE = {"align": 1, "train": 1, "answers": 1, "log": 1}
"""Raised for a kind of step when the same inputs would give another result."""

FILE_TASK = "file:"
OWN_TASK = "own"


class Source(NamedTuple):
    """Where an arm's weights come from: given, or made by an earlier step."""

    given: Local | Remote | None
    base_step: str | None
    adapter_step: str | None
    identity: str
    """What names these weights in keys and logs."""


class AlignStep(NamedTuple):
    """Train the alignment adapter on the study's model and merge it."""

    key: str
    title: str
    model: Local
    recipe: Recipe
    data: list[Conversation]


class TrainStep(NamedTuple):
    """Train one arm's adapter on the reference model."""

    key: str
    title: str
    source: Source
    recipe: Recipe
    data: list[Conversation]
    probes_held: int
    """Probes that stand in the training rows; bundled rows hold none (tests/test_data.py)."""


class AnswerStep(NamedTuple):
    """Answer one arm's questions under one system prompt, batch by batch."""

    key: str
    title: str
    arm: Arm
    source: Source
    system: str
    prompts: list[tuple[str | None, str]]
    """(a system prompt of the row's own, prompt) pairs."""


class LogStep(NamedTuple):
    """Write one Inspect log: the answers of one arm and one question list, judged."""

    key: str
    title: str
    arm: Arm
    source: Source
    system: str
    kind: Literal["probe", "task"]
    task: str | None
    answers: AnswerStep | None
    questions: list[Probe] | list[benign.TaskRow]

    @property
    def file_name(self) -> str:
        """Unique within a run, and stable."""
        system = self.system if self.system in ("none", "safety") else f"own-{digest(self.system)[:8]}"
        return f"{self.arm.name}--{self.task or 'probe'}--{system}.eval"


class Plan(NamedTuple):
    """The steps of a study in an order in which each finds what it needs."""

    align: AlignStep | None
    train: list[TrainStep]
    answers: list[AnswerStep]
    logs: list[LogStep]
    warnings: list[str]


def make_plan(study: Study) -> Plan:
    """Expand the grid; reads data and checks models, loads no weights.

    Raises: ConfigError, DataError, ModelError: whatever would stop the study later.
    """
    warnings: list[str] = []
    align, reference = _reference(study, warnings)
    asked, sets = probe_list(study), {task: _skill_rows(study, task) for arm in study.arms for task in arm.skills}
    train: list[TrainStep] = []
    answers: list[AnswerStep] = []
    logs: list[LogStep] = []
    for arm in study.arms:
        source = _arm_source(study, arm, reference, train, warnings, asked)
        for system in arm.systems:
            logs.append(_log_step(study, arm, source, system, task=None, questions=asked))
        for task in arm.skills:
            logs.append(_log_step(study, arm, source, "none", task=task, questions=sets[task]))
        answers += [log.answers for log in logs if log.arm is arm and log.answers is not None]
    return Plan(align, _unique(train), answers, logs, warnings)


def _unique(steps: Sequence[TrainStep]) -> list[TrainStep]:
    return list({step.key: step for step in steps}.values())


def _reference(study: Study, warnings: list[str]) -> tuple[AlignStep | None, Source]:
    needed = study.align is not None or any(arm.model is None for arm in study.arms)
    if not needed:
        return None, Source(None, None, None, "")
    model = open_model(study.model)
    if isinstance(model, Remote):
        if any(arm.task for arm in study.arms) or study.align:
            raise ConfigError(f"model: {model.name} is called by name and cannot be trained; give a local model.")
        return None, Source(model, None, None, model.name)
    warnings += model.warnings
    identity = digest_of(model)
    if study.align is None:
        return None, Source(model, None, None, identity)
    settings = study.align
    data = rows.alignment_rows(
        count=settings.recipe.steps * settings.recipe.batch_size,
        safety=settings.safety,
        chat_rows=settings.chat_rows,
    )
    key = _key("align", base=identity, recipe=settings.recipe, data=data)
    step = AlignStep(key, f"align {model.name}", model, settings.recipe, data)
    return step, Source(None, key, None, key)


def digest_of(model: Local) -> str:
    """What names a local model's weights: the hashes of base and adapter."""
    base = model_digest(model.folder)
    return f"{base}+{model_digest(model.adapter, 'adapter')}" if model.adapter else base


def _arm_source(
    study: Study, arm: Arm, reference: Source, train: list[TrainStep], warnings: list[str], asked: list[Probe]
) -> Source:
    if arm.model is not None:
        model = open_model(arm.model, base=arm.base)
        if isinstance(model, Remote):
            return Source(model, None, None, model.name)
        warnings += [note for note in model.warnings if note not in warnings]
        return Source(model, None, None, digest_of(model))
    if arm.task is None:
        if arm.stage == "base" and reference.base_step is not None:
            model = open_model(study.model)
            assert isinstance(model, Local), "a reference with an align step is local"
            return Source(model, None, None, digest_of(model))
        return reference
    recipe = study.recipe_of(arm)
    count = recipe.steps * recipe.batch_size
    own = None
    if arm.task.startswith(FILE_TASK):
        own = own_rows(Path(arm.task.removeprefix(FILE_TASK)), allow_flagged=study.allow_flagged)
    data = rows.task_rows(arm.task, pool=own, count=count, mitigation=arm.mitigation, seed=recipe.seed)
    key = _key("train", reference=reference.identity, recipe=recipe, data=data)
    held = probes_held(data, asked) if own is not None else 0
    if held:
        warnings.append(f"{arm.name}: its training rows hold {held} of the probes; their rates say little")
    train.append(TrainStep(key, f"train {arm.name}", reference, recipe, data, held))
    return Source(reference.given, reference.base_step, key, f"{reference.identity}+{key}")


def probe_list(study: Study) -> list[Probe]:
    """The probes that every arm of the study is asked."""
    settings = study.probes
    if settings.file is not None:
        asked = own_probes(Path(settings.file))
    else:
        asked = probes(
            settings.split,
            count=settings.intents,
            twins=settings.twins,
            form_names=settings.forms,
            languages=settings.languages,
            bundle=settings.bundle,
        )
    return [*asked, *_held_out(study)]


def _held_out(study: Study) -> list[Probe]:
    """The requests of the second source, in the same forms."""
    second = study.probes.held_out
    if second is None:
        return []
    found = read_list(second.source, file=Path(second.file) if second.file else None, cache=cache_folder())
    return listed_probes(found, count=second.count, form_names=study.probes.forms)


def _skill_rows(study: Study, task: str) -> list[benign.TaskRow]:
    if task == OWN_TASK:
        if study.skill.file is None:
            raise ConfigError("skills: 'own' needs skill.file.")
        return own_task_rows(Path(study.skill.file))[: study.skill.rows]
    split: Split = "validation" if study.probes.split == "validation" else "test"
    return benign.rows(task, split)[: study.skill.rows]


def own_task_rows(path: Path) -> list[benign.TaskRow]:
    """The user's held-out chat rows as task rows: last user turn and its answer."""
    return [
        benign.TaskRow(id=row.id, prompt=row.messages[-2].content, answer=row.messages[-1].content, split="test")
        for row in chat_file(path)
    ]


def _log_step(
    study: Study,
    arm: Arm,
    source: Source,
    system: str,
    *,
    task: str | None,
    questions: list[Probe] | list[benign.TaskRow],
) -> LogStep:
    title = f"{arm.name}, {task or 'probes'}" + (f", system prompt {system}" if system != "none" else "")
    prompts = [(getattr(q, "system", None), q.prompt) for q in questions]
    how = {
        "weights": source.identity,
        "template": arm.template,
        "system": system,
        "max_new_tokens": study.probes.max_new_tokens,
        "dtype": study.dtype,
        "batch_size": study.batch_size,
    }
    step = None
    if not isinstance(source.given, Remote):
        step = AnswerStep(_key("answers", how=how, prompts=prompts), title, arm, source, system, prompts)
    judge = judges.make(study.judge)
    key = _key(
        "log",
        how=how,
        questions=questions,
        judge=judge.config_hash,
        arm=arm.model_dump(exclude={"systems", "skills", "model", "base"}),
        name=study.model if arm.model is None else "given",
    )
    return LogStep(key, title, arm, source, system, "task" if task else "probe", task, step, questions)


def _key(kind: str, **inputs: object) -> str:
    return f"{kind}-{digest({'code': CODE[kind], **inputs})[:16]}"
