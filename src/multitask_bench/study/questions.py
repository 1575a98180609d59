"""What the arms of a study are asked: probes, held-out rows of the tasks, validation rows."""

from __future__ import annotations

from pathlib import Path

from multitask_bench.data import benign
from multitask_bench.data.own_metric import load_metric
from multitask_bench.data.prompts import chat_file, own_probes
from multitask_bench.data.sources import read_list
from multitask_bench.data.task_sources import TaskData
from multitask_bench.errors import ConfigError
from multitask_bench.records import cache_folder
from multitask_bench.schema import Probe, Split
from multitask_bench.study.config import Select, Study
from multitask_bench.study.probes import listed_probes, probes
from multitask_bench.study.steps import FILE_TASK, OWN_TASK, Written
from multitask_bench.study.task_sets import absent, read_set, test_rows


class Questions:
    """Every list of questions of one study, each read and written into keys once."""

    def __init__(self, study: Study, *, download: bool) -> None:
        self.study = study
        self.warnings: list[str] = []
        self.probes = probe_list(study)
        self.sets: dict[str, TaskData] = {}
        """Public sets that stand in for the bundled rows of a task."""
        for task, chosen in study.tasks.items():
            missing = None if download else absent(chosen)
            if missing is None:
                self.sets[task] = read_set(task, chosen)
            else:
                self.warnings.append(f"{missing} Its steps are estimated on the bundled rows.")
        tasks = dict.fromkeys(task for arm in study.cells for task in arm.skills)
        self.skill = {task: self._skill_rows(task) for task in tasks}
        self._check_metric()
        self._prompts: dict[str | None, Written] = {}
        self._listed: dict[str | None, Written] = {}

    def of(self, task: str | None) -> list[Probe] | list[benign.TaskRow]:
        """The rows of a task, or the probes."""
        return self.skill[task] if task else self.probes

    def prompts(self, task: str | None) -> Written:
        """What is sent: (a system prompt of the row's own, prompt) pairs."""
        if task not in self._prompts:
            self._prompts[task] = Written([(getattr(q, "system", None), q.prompt) for q in self.of(task)])
        return self._prompts[task]

    def listed(self, task: str | None) -> Written:
        """The questions with all that is known of them."""
        if task not in self._listed:
            self._listed[task] = Written(self.of(task))
        return self._listed[task]

    def validation(self, select: Select) -> list[Probe]:
        """The probes that settings are chosen on."""
        settings = self.study.probes
        return probes(
            "validation",
            count=select.intents,
            twins=select.twins,
            form_names=settings.forms,
            languages=settings.languages,
            bundle=settings.bundle,
        )

    def validation_rows(self, task: str, count: int) -> list[benign.TaskRow]:
        """The rows of a task that settings are chosen on; none of the user's own file."""
        if task.startswith(FILE_TASK):
            return []
        return self._held_out_rows(task, "validation", count)

    def _skill_rows(self, task: str) -> list[benign.TaskRow]:
        count = self.study.skill.rows
        if task == OWN_TASK:
            if self.study.skill.file is None:
                raise ConfigError("skills: 'own' needs skill.file.")
            return own_task_rows(Path(self.study.skill.file))[:count]
        split: Split = "validation" if self.study.probes.split == "validation" else "test"
        return self._held_out_rows(task, split, count)

    def _held_out_rows(self, task: str, split: Split, count: int) -> list[benign.TaskRow]:
        found = test_rows(self.sets[task], split) if task in self.sets else benign.rows(task, split)
        return found[:count]

    def _check_metric(self) -> None:
        """Try the user's own metric on a first row, answered as its reference and not at all.

        Raises: ConfigError, DataError: it would stop the study when all answers are there.
        """
        metric = self.study.skill.metric
        if metric is None:
            return
        if OWN_TASK not in self.skill:
            raise ConfigError("skill.metric: it measures own rows; give them as skill.file, and arms 'skills: [own]'.")
        function, first = load_metric(metric), self.skill[OWN_TASK][0]
        for answer in (first.answer, ""):
            function([answer], [first.answer])


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
