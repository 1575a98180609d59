"""The steps of a study, and the keys that name them.

A key holds settings, data and the keys of earlier steps, never a path, a time or a machine: a
step folder can be copied to another machine and is found there. What two arms share has one key.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from multitask_bench.data.benign import TaskRow
from multitask_bench.guards import GuardSpec
from multitask_bench.judges import JudgeSpec
from multitask_bench.mitigations import MitigationSpec
from multitask_bench.models.chat import TemplateName, policy_texts
from multitask_bench.models.load import Local, Planned, Remote
from multitask_bench.records import canonical, digest, text_digest
from multitask_bench.schema import Conversation, Probe
from multitask_bench.study.config import Arm
from multitask_bench.train.recipe import Recipe

CODE = {"align": 3, "train": 3, "repair": 1, "select": 2, "answers": 2, "log": 3}
"""Raised for a kind of step when the same inputs would give another result.

Not for a score that is new in the logs of some tasks: `LogStep`'s key names those scores, so that no other log is
written and judged once more, at the price of a judge that is a model. Raised for ``select`` when its rule
changes: the answers of an arm hang on the choice and not on its outcome, so that another choice under the same key
would be given the answers of the first.
"""

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
    train_step: str | None = None
    """The fine-tune behind it, where later steps changed the adapter."""

    @property
    def weights(self) -> str:
        """``identity`` as a hash: what headers of logs say, and what scores of these weights are held to."""
        return digest(self.identity)[:16]

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
    mitigations: tuple[MitigationSpec, ...] = ()
    """Those that change the trainer."""


class RepairStep(NamedTuple):
    """Make an adapter out of a trained one, without training."""

    key: str
    title: str
    source: Source
    """The fine-tune; its base is the aligned model, the reference of every method."""
    unaligned: Local | Planned | None
    """The model before its alignment, for methods that look at what alignment changed."""
    safety_step: str | None
    """The safety adapter, for methods that lean on one."""
    mitigation: MitigationSpec


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
    max_new_tokens: int
    measured: Sequence[TaskRow] = ()
    """Rows whose reference answers' loss is taken beside the answers; not in the key, for no answer hangs on them."""

    @property
    def losses(self) -> str | None:
        """The name of the file with these losses in the step's folder: another for other references."""
        return f"losses-{digest(self.measured)[:16]}.json" if self.measured else None


class Candidate(NamedTuple):
    """One setting of an arm, asked before the choice."""

    mitigation: dict[str, dict[str, Any]]
    source: Source
    probes: AnswerStep
    skill: AnswerStep | None


class SelectStep(NamedTuple):
    """Choose the setting that becomes an arm; its key holds what is chosen from and how, not what comes of it."""

    key: str
    title: str
    task: str
    plain: Candidate
    """The fine-tune without mitigations, whose task skill the others are held to."""
    reference: AnswerStep | None
    """The aligned model's answers to the task, which tell what tuning gained."""
    candidates: list[Candidate]
    questions: list[Probe]
    rows: list[TaskRow]
    margin: float


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
    questions: list[Probe] | list[TaskRow]
    max_new_tokens: int
    judges: tuple[JudgeSpec, ...] = ()
    """Of probes: the study's judge, then the panel."""

    @property
    def file_name(self) -> str:
        """Unique within a run, and stable."""
        system = self.system if self.system in ("none", "safety") else f"own-{digest(self.system)[:8]}"
        template = "" if self.template == "native" else f"{self.template}-"
        return f"{self.arm.name}--{self.task or 'probe'}--{template}{system}.eval"

    @property
    def runs_code(self) -> bool:
        """Whether there are tests for the programs in its answers: of rows of a benign task, never of a probe."""
        return any(isinstance(row, TaskRow) and row.tests for row in self.questions)


class Plan(NamedTuple):
    """The steps of a study in an order in which each finds what it needs."""

    align: list[AlignStep]
    train: list[TrainStep]
    answers: list[AnswerStep]
    logs: list[LogStep]
    warnings: list[str]
    repairs: Sequence[RepairStep] = ()
    selects: Sequence[SelectStep] = ()
    """Between the repairs and the answers of the arms."""
    guards: Sequence[GuardSpec] = ()
    """They read the logs; no key hangs on them."""


class Written:
    """A value with its canonical text, written once: the same questions stand in the keys of many steps."""

    def __init__(self, value: Any) -> None:
        self.value, self.text = value, canonical(value)


def key_of(kind: str, **inputs: object) -> str:
    """The key of a step of one ``kind`` with these inputs."""
    parts = {"code": CODE[kind], **inputs}
    texts = {name: part.text if isinstance(part, Written) else canonical(part) for name, part in parts.items()}
    whole = ",".join(f"{canonical(name)}:{text}" for name, text in sorted(texts.items()))
    return f"{kind}-{text_digest('{' + whole + '}')[:16]}"


def recipe_key(recipe: Recipe) -> dict[str, Any]:
    """The recipe as its step's key holds it: settings that have their usual value do not count.

    A setting that a later release adds so leaves the keys, and the steps, of earlier ones as they are.
    """
    named = recipe.model_dump(exclude_defaults=True, exclude={"recipe", "template", "system"})
    return {**named, "policy": policy_texts(recipe.template, recipe.system)}


def task_name(arm: Arm) -> str | None:
    """What an arm was trained on, without the folder of a user's file: a key holds no paths."""
    if arm.task is None or not arm.task.startswith(FILE_TASK):
        return arm.task
    return FILE_TASK + Path(arm.task.removeprefix(FILE_TASK)).name
