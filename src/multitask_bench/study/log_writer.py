"""Write the logs of a run: stored answers through Inspect, every judge over them, and what is known of their arms.

A log stands in its step's folder until every judge has read it, and moves to where results are read from in one rename.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

from multitask_bench.data.code_tests import isolation_problem
from multitask_bench.data.own_metric import load_metric
from multitask_bench.errors import ModelError, MtbError
from multitask_bench.judges import JudgeSpec
from multitask_bench.models.load import Local
from multitask_bench.records import digest, dump_jsonl, read_json, write_json, write_text
from multitask_bench.study.config import Arm, Study
from multitask_bench.study.grading import asks_model, verb_of
from multitask_bench.study.mitigated import as_given, dose, safety_kind
from multitask_bench.study.progress import Reporter
from multitask_bench.study.rejudge import judge_log, names_of
from multitask_bench.study.step_folders import SELECTION, StepFolders
from multitask_bench.study.steps import OWN_TASK, LogStep, Plan, Source, task_name

NOT_RUN = "programs_not_run"
"""In what a finished log step leaves: why its programs were not run."""

CONNECTIONS = 64
"""An explicit number switches Inspect's adaptive connections off (API-NOTES section 1)."""


class LogWriter:
    """Writes the logs of one plan from the answers in its step folders."""

    def __init__(self, study: Study, plan: Plan, folders: StepFolders, *, reporter: Reporter) -> None:
        self.study, self.plan, self.folders = study, plan, folders
        self.reporter = reporter
        self.asked: dict[str, Any] | None = None
        """How the probes were asked in order (`study.early.Asked`), for the headers of the logs."""

    def write(self, steps: list[LogStep], folder: Path) -> None:
        """Write the logs of ``steps`` that are not there yet into ``folder``."""
        missing = [step for step in steps if not self._is_there(step, folder)]
        if not missing:
            return
        with self.reporter.step("judge and write logs") as tick:
            for number, step in enumerate(missing):
                tick(number, len(missing), step.title)
                self._ask(step)
                if not _judged_later(step):
                    self._place(step, folder / step.file_name)
                tick(number + 1, len(missing))
        self._judge([step for step in missing if _judged_later(step)])
        for step in missing:
            if _judged_later(step):
                self._place(step, folder / step.file_name)

    def unconfined(self) -> str | None:
        """Why the programs in answers that have no log yet cannot be run on this machine; None where they can."""
        logs = [step for step in self.plan.logs if step.runs_code and not self._is_there(step, self.folders.logs)]
        return isolation_problem() if logs else None

    def _judge(self, steps: list[LogStep]) -> None:
        """Add the scores of the judges that read whole logs: one judge after the other, each loaded once.

        Raises: ModelError: a grading model did not answer everywhere; what it said is kept.
        """
        for name, spec in _judged_later(steps[0]) if steps else ():
            verb = verb_of(spec, tell=self.reporter.say)
            failed = 0
            with self.reporter.step(f"judge by {name}") as tick:
                for number, step in enumerate(steps):
                    tick(number, len(steps), step.title)
                    path = self._unjudged(step)
                    _, left = judge_log(path, spec, verb, name=name, scratch=path.parent / "judging")
                    failed += left
                    tick(number + 1, len(steps))
            if failed:
                raise ModelError(
                    f"{failed} answers got no reply from the judge {name}; run the same command again to ask for those."
                )

    def _is_there(self, step: LogStep, folder: Path) -> bool:
        """Whether a step's log is written: again where its programs were not run and this machine can run them."""
        if not (self._marker(step).is_file() and (folder / step.file_name).is_file()):
            return False
        return not (NOT_RUN in read_json(self._marker(step)) and isolation_problem() is None)

    def _marker(self, step: LogStep) -> Path:
        return self.folders.of(step.key) / "done.json"

    def _unjudged(self, step: LogStep) -> Path:
        """The log of a step until every judge has read it."""
        return self.folders.of(step.key) / "asked.eval"

    def _ask(self, step: LogStep) -> None:
        """Write a step's log, unless an earlier call left it there to be judged."""
        folder = self.folders.of(step.key)
        if self._unjudged(step).is_file():
            return
        folder.mkdir(parents=True, exist_ok=True)
        questions = folder / "questions.jsonl"
        write_text(questions, dump_jsonl(step.questions))
        log = self._evaluate(step, questions, scratch=folder / "inspect")
        if log.status != "success":
            reason = log.error.message.splitlines()[0] if log.error else log.status
            raise MtbError(f"{step.title}: Inspect stopped ({reason}); run the same command again to continue.")
        self._check_metric(step, log)
        os.replace(_local_path(log.location), self._unjudged(step))  # noqa: PTH105  across folders of one run
        shutil.rmtree(folder / "inspect", ignore_errors=True)

    def _check_metric(self, step: LogStep, log: Any) -> None:
        """Raises: ConfigError: the user's own metric failed on an answer, which Inspect counts as a failed call."""
        metric = self.study.skill.metric
        if step.task != OWN_TASK or metric is None:
            return
        function = load_metric(metric)
        for sample in log.samples or []:
            if sample.error is not None and sample.output.choices:
                function([sample.output.completion], [str(sample.target)])

    def _place(self, step: LogStep, target: Path) -> None:
        """Move a finished log to where results are read from."""
        target.parent.mkdir(parents=True, exist_ok=True)
        os.replace(self._unjudged(step), target)  # noqa: PTH105  across folders of one run
        shutil.rmtree(self.folders.of(step.key) / "judging", ignore_errors=True)
        if target.parent == self.folders.logs:
            # The file is no longer that of another step, such as of some of the probes: that one is not done any more.
            for other in (self.folders.run / "steps").glob("log-*/done.json"):
                if read_json(other)["log"] == step.file_name:
                    other.unlink()
        facts: dict[str, Any] = {"log": step.file_name, "probes": digest([q.id for q in step.questions])}
        if step.runs_code and (problem := isolation_problem()) is not None:
            facts[NOT_RUN] = problem
        write_json(self._marker(step), facts)

    def _evaluate(self, step: LogStep, questions: Path, *, scratch: Path) -> Any:
        from inspect_ai import eval as inspect_eval
        from inspect_ai.model import get_model

        shutil.rmtree(scratch, ignore_errors=True)
        arguments: dict[str, Any] = {"arm": step.arm.name, "system": step.system}
        arguments["max_new_tokens"] = step.max_new_tokens
        arguments |= {"template": step.template, "temperature": self.study.probes.temperature}
        if step.kind == "probe":
            name = "multitask_bench/probe"
            arguments |= {"probes": str(questions), "judge": self.study.judge}
            if asks_model(step.judges[0]):
                arguments["judged_when"] = "later"
            elif self.study.judge_settings:
                arguments["judge_settings"] = self.study.judge_settings
            arguments["facts"] = self._facts(step)
        else:
            name = "multitask_bench/task_rows"
            arguments |= {"task": step.task, "rows_file": str(questions)}
            if step.task == OWN_TASK:
                arguments["metric"] = self.study.skill.metric
            if step.answers is not None and step.answers.losses is not None:
                arguments["losses"] = str(self.folders.of(step.answers.key) / step.answers.losses)
        remote = step.answers is None
        model = get_model(step.source.identity) if remote else self._store_model(step)
        (log,) = inspect_eval(
            f"{name}",
            model=model,
            task_args=arguments,
            log_dir=str(scratch),
            display="none",
            max_connections=CONNECTIONS if not remote else 10,
            max_samples=CONNECTIONS if not remote else 10,
            fail_on_error=False,
            log_realtime=False,
            cache=remote,  # a remote answer that was paid for is not asked for again
            ctl_server=False,
        )
        return log

    def _store_model(self, step: LogStep) -> Any:
        from inspect_ai.model import get_model

        base, adapter = self.folders.weights(step.source)
        assert step.answers is not None, "a local log step has answers"
        return get_model(
            f"mtb/{step.arm.name}",
            memoize=False,
            folder=str(base),
            adapter=str(adapter) if adapter else None,
            store=str(self.folders.of(step.answers.key)),
            template=step.template,
            dtype=self.study.dtype,
        )

    def _facts(self, step: LogStep) -> dict[str, Any]:
        """What a row of results.json says of the arm; hashes and names, no paths."""
        arm, chosen = self._chosen(step)
        recipe = self.study.recipe_of(arm)
        given = step.source.given
        own = given.adapter.name if isinstance(given, Local) and given.adapter else None
        return {
            "stage": arm.stage,
            **({"asked": self.asked} if self.asked else {}),
            "group": arm.group,
            "model": step.source.name,
            # In no key of its own: a log that an earlier release wrote without it is not written anew.
            "weights": step.source.weights,
            "adapter": step.source.adapter_step or (step.source.base_step if arm.task else own),
            "finetune_task": task_name(arm),
            "mitigation": as_given(arm.mitigation),
            "seed": recipe.seed if arm.task else None,
            # What two arms share that differ in the kind of their safety set alone, or in their seed.
            "dose": self._dose(arm),
            "safety_kind": safety_kind(arm.mitigation),
            "train_template": recipe.template if arm.task else None,
            "train_system": recipe.system if arm.task else None,
            "probes_in_training": next(
                (s.probes_held for s in self.plan.train if s.key == self._taken(step).train_step),
                0,
            ),
            "cost": self._cost(step),
            **({"selection": chosen} if chosen is not None else {}),
            **({"unchanged": same} if (same := self._unchanged(step)) else {}),
        }

    def _unchanged(self, step: LogStep) -> list[dict[str, Any]]:
        """The repairs behind an arm that changed nothing in its adapter: name and how many modules they looked at."""
        repairs = {one.key: one for one in self.plan.repairs}
        out, key = [], self._taken(step).adapter_step
        while key in repairs:
            found = read_json(self.folders.of(key) / "repair.json")
            # One that an earlier release made does not count the changed ones, unless it took none.
            if found.get("changed", found["repaired"]) == 0:
                out.append({"name": found["name"], "modules": found["modules"]})
            key = repairs[key].source.adapter_step
        return out[::-1]

    def _cost(self, step: LogStep) -> dict[str, int] | None:
        """What the arm was trained on, and for how long; None for a model that was not trained here."""
        trained = {one.key: one for one in self.plan.train}
        source = self._taken(step)
        own = trained.get(source.train_step or "")
        if own is None:
            return None
        leaned_on = {one.safety_step for one in self.plan.repairs if one.key == source.adapter_step and one.safety_step}
        return {
            "rows": len(own.data),
            "steps": own.recipe.steps,
            "safety_rows": sum(row.kind in ("safety", "twin") for row in own.data),
            "adapter_steps": sum(trained[key].recipe.steps for key in leaned_on),
        }

    def _chosen(self, step: LogStep) -> tuple[Arm, dict[str, Any] | None]:
        """The arm with the settings that were selected for it, and how they were."""
        if step.arm.select is None or step.source.adapter_step is None:
            return step.arm, None
        found = read_json(self.folders.of(step.source.adapter_step) / SELECTION)
        return step.arm.model_copy(update={"mitigation": found["mitigation"]}), found["record"]

    def _taken(self, step: LogStep) -> Source:
        """Where the weights of a log come from: those of the setting that was taken, where there was a choice."""
        _, record = self._chosen(step)
        select = next((one for one in self.plan.selects if one.key == step.source.adapter_step), None)
        return step.source if record is None or select is None else select.candidates[record["chosen"]].source

    def _dose(self, arm: Arm) -> str | None:
        """Names recipe and mitigations but for the kind of the safety set, and for the seed."""
        if not arm.mitigation:
            return None
        recipe = self.study.recipe_of(arm).model_dump(exclude={"seed"})
        return digest([dose(arm.mitigation), recipe])[:12]


def _judged_later(step: LogStep) -> list[tuple[str, JudgeSpec]]:
    """The judges that read a whole log once it is there, with the names of their scores: all but one by rules."""
    named = list(zip(names_of(step.judges), step.judges, strict=True))
    return named if step.judges and asks_model(step.judges[0]) else named[1:]


def _local_path(location: str) -> Path:
    return Path(location.removeprefix("file://"))
