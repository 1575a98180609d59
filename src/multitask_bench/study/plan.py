"""A study as steps: what every arm needs, in an order in which each step finds it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

from multitask_bench.data.benign import TaskRow
from multitask_bench.data.own_metric import metric_signature
from multitask_bench.errors import ConfigError
from multitask_bench.judges import JudgeSpec, judges
from multitask_bench.models.chat import TemplateName, policy_texts
from multitask_bench.models.load import Local, Planned, Remote, open_model, planned
from multitask_bench.schema import Probe
from multitask_bench.study import selection
from multitask_bench.study.config import Arm, Select, Study
from multitask_bench.study.grading import made
from multitask_bench.study.guard_steps import guards_of
from multitask_bench.study.mitigated import hooked, prompted, without_folders
from multitask_bench.study.questions import Questions
from multitask_bench.study.skills import LOSS, TESTS_SCORE
from multitask_bench.study.steps import (
    OWN_TASK,
    AnswerStep,
    Candidate,
    LogStep,
    Plan,
    SelectStep,
    Source,
    Written,
    key_of,
    task_name,
)
from multitask_bench.study.weights import Weights

Calibration = tuple[TemplateName, str]
"""(chat template, system prompt policy)"""


def make_plan(study: Study, *, download: bool = True) -> Plan:
    """Expand the grid; reads data and checks models, loads no weights.

    Without ``download`` nothing is fetched: models of a hub that are not here are planned for by what is known
    of them.

    Raises: ConfigError, DataError, ModelError: whatever would stop the study later.
    """
    chosen = guards_of(study)
    grid = _Grid(study, open_model if download else planned, download=download)
    answers: list[AnswerStep] = []
    logs: list[LogStep] = []
    for cell in study.cells:
        arm = prompted(study, cell)
        source = grid.source(arm)
        first = len(logs)
        for template in arm.templates:
            logs += [grid.log_step(arm, source, (template, s), None) for s in arm.systems]
        logs += [grid.log_step(arm, source, grid.skill_calibration(arm), task) for task in arm.skills]
        answers += [log.answers for log in logs[first:] if log.answers is not None]
    weights = grid.weights
    trained = list(weights.align.values()), list(weights.train.values())
    made = list(weights.repairs.values()), list(grid.selects.values())
    return Plan(*trained, _by_base(answers), logs, grid.all_warnings(), *made, guards=chosen)


def _by_base(steps: Sequence[AnswerStep]) -> list[AnswerStep]:
    """The steps with those of one base together, each base where its first step stood: it is loaded once."""
    bases = {step.source.base: None for step in steps}
    return [step for base in bases for step in steps if step.source.base == base]


def judges_of(study: Study, *, download: bool) -> tuple[JudgeSpec, ...]:
    """The study's judge and the panel, each with its model named by its weights or its commit.

    Raises: ConfigError: a judge is given twice, or as of `grading.made`.
    """
    chosen = [(study.judge, study.judge_settings), *((one.judge, one.settings) for one in study.panel)]
    specs = tuple(made(name, settings, download=download) for name, settings in chosen)
    if len({spec.config_hash for spec in specs}) < len(specs):
        raise ConfigError("panel: the same judge stands there twice, or is the study's own.")
    return specs


class _Grid:
    """Asks the arms of a study: their answers, their logs, and the choice among settings."""

    def __init__(self, study: Study, opened: Callable[..., Local | Planned | Remote], *, download: bool) -> None:
        self.study = study
        self.questions = Questions(study, download=download)
        self.judges = judges_of(study, download=download)
        self.weights = Weights(study, self.questions, opened)
        self.selects: dict[str, SelectStep] = {}
        self._warnings: list[str] = []

    def all_warnings(self) -> list[str]:
        """What the user should know before anything runs."""
        return [*self.questions.warnings, *self.weights.warnings, *self._warnings]

    def source(self, arm: Arm) -> Source:
        """Where the arm's weights come from; the steps that make them are kept."""
        return self._selected(arm, arm.select) if arm.select is not None else self.weights.source(arm)

    def log_step(self, arm: Arm, source: Source, calibration: Calibration, task: str | None) -> LogStep:
        """The questions of one kind to one arm in one calibration, and the log of its answers."""
        template, system = calibration
        questions = self.questions.of(task)
        title = f"{arm.name}, {task or 'probes'}"
        title += f", template {template}" if template != "native" else ""
        title += f", system prompt {system}" if system != "none" else ""
        limit = self.study.skill_tokens if task else self.study.asked.max_new_tokens
        how = self._how(source, calibration, limit)
        remote = isinstance(source.given, Remote)
        step = None
        if not remote:
            step = self._answer_step(title, arm, source, calibration, self.questions.prompts(task), limit)
            step = step._replace(measured=self.questions.skill[OWN_TASK] if task == OWN_TASK else ())
        judge, *panel = self.judges
        more: dict[str, Any] = {"panel": [spec.config_hash for spec in panel]} if panel and task is None else {}
        if scores := self._scores(task, with_losses=not remote):
            more["scores"] = scores
        apart = {"systems", "templates", "skills", "model", "base", "task", "reference", "select"}
        key = key_of(
            "log",
            how=how,
            questions=self.questions.listed(task),
            judge=judge.config_hash,
            arm=arm.model_copy(update={"mitigation": without_folders(arm.mitigation)}).model_dump(exclude=apart),
            task=task_name(arm),
            name=source.name if arm.model is None else "given",
            calibration=calibration,
            **more,
        )
        asked_of = () if task else self.judges
        kind: Literal["probe", "task"] = "task" if task else "probe"
        return LogStep(key, title, arm, source, template, system, kind, task, step, questions, limit, asked_of)

    def _scores(self, task: str | None, *, with_losses: bool) -> list[str]:
        """The scores of a task's log beside the answers against their references, as its key names them.

        A log that was written before there was such a score is written anew, from the answers that are there.
        """
        found = [TESTS_SCORE] if task and any(row.tests for row in self.questions.skill[task]) else []
        if task == OWN_TASK:
            metric = self.study.skill.metric
            found += [metric_signature(metric)] if metric is not None else []
            found += [LOSS] if with_losses else []
        return found

    def _how(self, source: Source, calibration: Calibration, limit: int) -> dict[str, Any]:
        """What answers depend on beside the questions."""
        study = self.study
        how: dict[str, Any] = {
            "weights": source.identity,
            "policy": policy_texts(*calibration),
            "max_new_tokens": limit,
            "dtype": study.dtype,
            "batch_size": study.batch_size,
        }
        if study.probes.temperature:
            how["temperature"] = study.probes.temperature
        return how

    def _answer_step(
        self, title: str, arm: Arm, source: Source, calibration: Calibration, asked: Written, limit: int
    ) -> AnswerStep:
        key = key_of("answers", how=self._how(source, calibration, limit), prompts=asked)
        return AnswerStep(key, title, arm, source, *calibration, asked.value, limit)

    def skill_calibration(self, arm: Arm) -> Calibration:
        """How an arm is asked for its task: as it was trained, for elsewhere the skill may not show."""
        if arm.task is None or self.study.paper_compat:
            return arm.templates[0], "none"
        recipe = self.study.recipe_of(arm)
        if hooked(arm.mitigation, "on_prompt"):  # served with another prompt than it was trained with
            return recipe.template, arm.systems[0]
        return recipe.template, recipe.system

    def _selected(self, arm: Arm, select: Select) -> Source:
        """The best of the arm's candidates; what hangs on it hangs on the choice, not on its outcome."""
        if self.study.probes.split == "validation":
            raise ConfigError(f"arm {arm.name}: select chooses on validation intents; set probes.split to test.")
        if self.study.recipe_of(arm).method == "full":
            raise ConfigError(f"arm {arm.name}: select keeps adapters; train.method full has none.")
        asked = self.questions.validation(select)
        task = str(arm.task)
        rows_asked = self.questions.validation_rows(task, select.rows)
        if not rows_asked:
            self._warnings.append(
                f"{arm.name}: its task has no validation rows; the setting is chosen without a look at task skill"
            )
        tried = [self._candidate(arm, {}, asked, rows_asked)]
        for settings in select.settings:
            both = {name: {**arm.mitigation.get(name, {}), **how} for name, how in settings.items()}
            tried.append(self._candidate(arm, {**arm.mitigation, **both}, asked, rows_asked))
        plain, *candidates = tried
        reference = self.weights.reference(arm.reference, trained=True)
        start = self._skill_answers(f"{reference.name} before tuning, validation", arm, reference, rows_asked)
        if len({one.source.identity for one in candidates}) < len(candidates):
            raise ConfigError(f"arm {arm.name}: two of its settings to select from are the same.")
        key = key_of(
            "select",
            tried=[[one.source.identity, one.probes.key, one.skill and one.skill.key] for one in tried],
            reference=start and start.key,
            questions=asked,
            rows=rows_asked,
            margin=self.study.task_margin,
            judge=judges.make(selection.JUDGE).config_hash,
        )
        title, margin = f"select a setting of {arm.name}", self.study.task_margin
        self.selects[key] = SelectStep(key, title, task, plain, start, candidates, asked, rows_asked, margin)
        first = candidates[0].source
        return first._replace(adapter_step=key, identity=f"{reference.identity}+{key}")

    def _candidate(
        self, arm: Arm, mitigation: dict[str, dict[str, Any]], asked: list[Probe], rows_asked: list[TaskRow]
    ) -> Candidate:
        one = arm.model_copy(update={"mitigation": mitigation, "select": None})
        if mitigation and prompted(self.study, one).systems != arm.systems:
            raise ConfigError(f"arm {arm.name}: select chooses among adapters; a prompt policy is an arm of its own.")
        source = self.weights.source(one)
        title = f"{arm.name}, validation, {_settings_text(mitigation)}"
        prompts, limit = Written([(p.system, p.prompt) for p in asked]), self.study.asked.max_new_tokens
        probes_step = self._answer_step(title, one, source, (arm.templates[0], arm.systems[0]), prompts, limit)
        return Candidate(mitigation, source, probes_step, self._skill_answers(title, one, source, rows_asked))

    def _skill_answers(self, title: str, arm: Arm, source: Source, rows_asked: list[TaskRow]) -> AnswerStep | None:
        """The answers to the validation rows of an arm's task; None where there are none."""
        if not rows_asked:
            return None
        prompts, place = Written([(None, row.prompt) for row in rows_asked]), self.skill_calibration(arm)
        return self._answer_step(f"{title}, {arm.task}", arm, source, place, prompts, self.study.skill_tokens)


def _settings_text(mitigation: dict[str, dict[str, Any]]) -> str:
    """The settings of a candidate in the title of a step."""
    found = [f"{key} {value}" for how in mitigation.values() for key, value in how.items()]
    return ", ".join(found) or "+".join(mitigation) or "no mitigation"
