"""A study as steps, each keyed by the hash of its inputs.

A key holds settings, data and the keys of earlier steps, never a path, a time or a machine: a
step folder can be copied to another machine and is found there. What two arms share has one key.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from multitask_bench.data import benign
from multitask_bench.data.prompts import chat_file, own_probes
from multitask_bench.data.sources import read_list
from multitask_bench.data.task_sources import TaskData
from multitask_bench.errors import ConfigError
from multitask_bench.judges import judges
from multitask_bench.models.chat import TemplateName, policy_texts
from multitask_bench.models.load import Local, Planned, Remote, cache_folder, model_digest, open_model, planned
from multitask_bench.records import canonical, digest, text_digest
from multitask_bench.schema import Conversation, Probe, Split
from multitask_bench.study import rows
from multitask_bench.study.config import Align, Arm, Study
from multitask_bench.study.probes import listed_probes, probes
from multitask_bench.study.task_sets import absent, read_set, test_rows, training_pool
from multitask_bench.study.training_file import own_rows, probes_held
from multitask_bench.train.recipe import Recipe

CODE = {"align": 3, "train": 3, "answers": 2, "log": 3}
"""Raised for a kind of step when the same inputs would give another result."""

FILE_TASK = "file:"
OWN_TASK = "own"


class Source(NamedTuple):
    """Where an arm's weights come from: given, or made by an earlier step."""

    given: Local | Planned | Remote | None
    base_step: str | None
    adapter_step: str | None
    identity: str
    """What names these weights in keys and logs."""
    name: str = ""
    """The model that was opened, without its path: what results call it."""

    @property
    def base(self) -> str:
        """What names the weights that are loaded before any adapter."""
        return self.base_step or (str(self.given.folder) if isinstance(self.given, Local) else self.identity)


class AlignStep(NamedTuple):
    """Train the alignment adapter on the study's model and merge it."""

    key: str
    title: str
    model: Local | Planned
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
    template: TemplateName
    system: str
    prompts: list[tuple[str | None, str]]
    """(a system prompt of the row's own, prompt) pairs."""


class LogStep(NamedTuple):
    """Write one Inspect log: the answers of one arm and one question list, judged."""

    key: str
    title: str
    arm: Arm
    source: Source
    template: TemplateName
    system: str
    kind: Literal["probe", "task"]
    task: str | None
    answers: AnswerStep | None
    questions: list[Probe] | list[benign.TaskRow]

    @property
    def file_name(self) -> str:
        """Unique within a run, and stable."""
        system = self.system if self.system in ("none", "safety") else f"own-{digest(self.system)[:8]}"
        template = "" if self.template == "native" else f"{self.template}-"
        return f"{self.arm.name}--{self.task or 'probe'}--{template}{system}.eval"


class Plan(NamedTuple):
    """The steps of a study in an order in which each finds what it needs."""

    align: list[AlignStep]
    train: list[TrainStep]
    answers: list[AnswerStep]
    logs: list[LogStep]
    warnings: list[str]


def make_plan(study: Study, *, download: bool = True) -> Plan:
    """Expand the grid; reads data and checks models, loads no weights.

    Without ``download`` nothing is fetched: models of a hub that are not here are planned for by what is known
    of them.

    Raises: ConfigError, DataError, ModelError: whatever would stop the study later.
    """
    grid = _Grid(study, open_model if download else planned)
    answers: list[AnswerStep] = []
    logs: list[LogStep] = []
    for arm in study.cells:
        source = grid.source(arm)
        first = len(logs)
        for template in arm.templates:
            logs += [grid.log_step(arm, source, (template, s), None) for s in arm.systems]
        logs += [grid.log_step(arm, source, grid.skill_calibration(arm), task) for task in arm.skills]
        answers += [log.answers for log in logs[first:] if log.answers is not None]
    return Plan(list(grid.align.values()), list(grid.train.values()), _by_base(answers), logs, grid.warnings)


def _by_base(steps: Sequence[AnswerStep]) -> list[AnswerStep]:
    """The steps with those of one base together, each base where its first step stood: it is loaded once."""
    bases = {step.source.base: None for step in steps}
    return [step for base in bases for step in steps if step.source.base == base]


def digest_of(model: Local) -> str:
    """What names a local model's weights: the hashes of base and adapter."""
    base = model_digest(model.folder)
    return f"{base}+{model_digest(model.adapter, 'adapter')}" if model.adapter else base


class _Written:
    """A value with its canonical text, written once: the same questions stand in the keys of many steps."""

    def __init__(self, value: Any) -> None:
        self.value, self.text = value, canonical(value)


class _Grid:
    """What the arms of a study share: reference models, probes, rows of the tasks."""

    def __init__(self, study: Study, opened: Callable[..., Local | Planned | Remote]) -> None:
        self.study, self.opened = study, opened
        self.warnings: list[str] = []
        self.align: dict[str, AlignStep] = {}
        self.train: dict[str, TrainStep] = {}
        self.asked = probe_list(study)
        self.sets: dict[str, TaskData] = {}
        for task, chosen in study.tasks.items():
            missing = absent(chosen) if opened is planned else None
            if missing is None:
                self.sets[task] = read_set(task, chosen)
            else:
                self.warnings.append(f"{missing} Its steps are estimated on the bundled rows.")
        tasks = dict.fromkeys(task for arm in study.cells for task in arm.skills)
        self.skill = {task: self._skill_rows(task) for task in tasks}
        self._references: dict[str, Source] = {}
        self._asked: dict[str | None, _Written] = {}
        self._listed: dict[str | None, _Written] = {}

    def source(self, arm: Arm) -> Source:
        """Where the arm's weights come from; a step that makes them is kept."""
        if arm.model is not None:
            return self._given(self.opened(arm.model, base=arm.base))
        reference = self._reference(arm.reference, trained=arm.task is not None)
        if arm.task is None:
            aligned = reference.base_step is not None and arm.stage == "base"
            return self._given(self.opened(arm.reference)) if aligned else reference
        step = self._train_step(arm, arm.task, reference)
        self.train[step.key] = step
        identity = f"{reference.identity}+{step.key}"
        if step.recipe.method == "full":
            return Source(None, step.key, None, identity, reference.name)
        return Source(reference.given, reference.base_step, step.key, identity, reference.name)

    def _given(self, model: Local | Planned | Remote) -> Source:
        if isinstance(model, Remote):
            return Source(model, None, None, model.name, model.name)
        if isinstance(model, Planned):
            return Source(model, None, None, f"{model.name}@{model.revision or 'newest'}", model.name)
        self.warnings += [note for note in model.warnings if note not in self.warnings]
        return Source(model, None, None, digest_of(model), model.name)

    def _reference(self, name: str, *, trained: bool) -> Source:
        """The model that arms start from, aligned where the study aligns it."""
        settings = self.study.align
        if name not in self._references:
            model = self.opened(name)
            found = self._given(model)
            if settings is not None and not isinstance(model, Remote):
                step = _align_step(model, found.identity, settings)
                self.align[name] = step
                found = Source(None, step.key, None, step.key, model.name)
            self._references[name] = found
        found = self._references[name]
        if isinstance(found.given, Remote) and (trained or settings is not None):
            raise ConfigError(f"model: {name} is called by name and cannot be trained; give a local model.")
        return found

    def _train_step(self, arm: Arm, task: str, reference: Source) -> TrainStep:
        recipe = self.study.recipe_of(arm)
        own, pool = task.startswith(FILE_TASK), None
        if own:
            pool = own_rows(Path(task.removeprefix(FILE_TASK)), allow_flagged=self.study.allow_flagged)
        elif task in self.sets:
            pool = training_pool(self.sets[task], self.study.tasks[task], max_length=recipe.max_length)
        data = rows.task_rows(
            str(task_name(arm)),
            pool=pool,
            count=recipe.steps * recipe.batch_size,
            mitigation=arm.mitigation,
            seed=recipe.seed,
        )
        held = probes_held(data, self.asked) if own or task in self.sets else 0
        if held:
            self.warnings.append(f"{arm.name}: its training rows hold {held} of the probes; their rates say little")
        key = _key("train", reference=reference.identity, recipe=_named(recipe), data=data)
        return TrainStep(key, f"train {arm.name}", reference, recipe, data, held)

    def log_step(self, arm: Arm, source: Source, calibration: tuple[TemplateName, str], task: str | None) -> LogStep:
        """The questions of one kind to one arm in one calibration, and the log of its answers."""
        study, (template, system) = self.study, calibration
        questions = self.skill[task] if task else self.asked
        title = f"{arm.name}, {task or 'probes'}"
        title += f", template {template}" if template != "native" else ""
        title += f", system prompt {system}" if system != "none" else ""
        how: dict[str, Any] = {
            "weights": source.identity,
            "policy": policy_texts(template, system),
            "max_new_tokens": study.asked.max_new_tokens,
            "dtype": study.dtype,
            "batch_size": study.batch_size,
        }
        if study.probes.temperature:
            how["temperature"] = study.probes.temperature
        step = None
        if not isinstance(source.given, Remote):
            prompts = self._prompts(task)
            key = _key("answers", how=how, prompts=prompts)
            step = AnswerStep(key, title, arm, source, template, system, prompts.value)
        judge = judges.make(study.judge)
        apart = {"systems", "templates", "skills", "model", "base", "task", "reference"}
        key = _key(
            "log",
            how=how,
            questions=self._questions(task),
            judge=judge.config_hash,
            arm=arm.model_dump(exclude=apart),
            task=task_name(arm),
            name=source.name if arm.model is None else "given",
            calibration=calibration,
        )
        return LogStep(key, title, arm, source, template, system, "task" if task else "probe", task, step, questions)

    def skill_calibration(self, arm: Arm) -> tuple[TemplateName, str]:
        """How an arm is asked for its task: as it was trained, for elsewhere the skill may not show."""
        if arm.task is None or self.study.paper_compat:
            return arm.templates[0], "none"
        recipe = self.study.recipe_of(arm)
        return recipe.template, recipe.system

    def _prompts(self, task: str | None) -> _Written:
        if task not in self._asked:
            questions = self.skill[task] if task else self.asked
            self._asked[task] = _Written([(getattr(q, "system", None), q.prompt) for q in questions])
        return self._asked[task]

    def _questions(self, task: str | None) -> _Written:
        if task not in self._listed:
            self._listed[task] = _Written(self.skill[task] if task else self.asked)
        return self._listed[task]

    def _skill_rows(self, task: str) -> list[benign.TaskRow]:
        count = self.study.skill.rows
        if task == OWN_TASK:
            if self.study.skill.file is None:
                raise ConfigError("skills: 'own' needs skill.file.")
            return own_task_rows(Path(self.study.skill.file))[:count]
        split: Split = "validation" if self.study.probes.split == "validation" else "test"
        if task in self.sets:
            return test_rows(self.sets[task], split)[:count]
        return benign.rows(task, split)[:count]


def _align_step(model: Local | Planned, identity: str, settings: Align) -> AlignStep:
    data = rows.alignment_rows(
        count=settings.recipe.steps * settings.recipe.batch_size,
        safety=settings.safety,
        chat_rows=settings.chat_rows,
    )
    key = _key("align", base=identity, recipe=_named(settings.recipe), data=data)
    return AlignStep(key, f"align {model.name}", model, settings.recipe, data)


def _named(recipe: Recipe) -> dict[str, Any]:
    """The recipe as its step's key holds it: settings that have their usual value do not count.

    A setting that a later release adds so leaves the keys, and the steps, of earlier ones as they are.
    """
    named = recipe.model_dump(exclude_defaults=True, exclude={"recipe", "template", "system"})
    return {**named, "policy": policy_texts(recipe.template, recipe.system)}


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


def own_task_rows(path: Path) -> list[benign.TaskRow]:
    """The user's held-out chat rows as task rows: last user turn and its answer."""
    return [
        benign.TaskRow(id=row.id, prompt=row.messages[-2].content, answer=row.messages[-1].content, split="test")
        for row in chat_file(path)
    ]


def task_name(arm: Arm) -> str | None:
    """What an arm was trained on, without the folder of a user's file: a key holds no paths."""
    if arm.task is None or not arm.task.startswith(FILE_TASK):
        return arm.task
    return FILE_TASK + Path(arm.task.removeprefix(FILE_TASK)).name


def _key(kind: str, **inputs: object) -> str:
    parts = {"code": CODE[kind], **inputs}
    texts = {name: part.text if isinstance(part, _Written) else canonical(part) for name, part in parts.items()}
    whole = ",".join(f"{canonical(name)}:{text}" for name, text in sorted(texts.items()))
    return f"{kind}-{text_digest('{' + whole + '}')[:16]}"
