"""Run a plan on this machine: a step that is there is not run again, a killed one starts over.

A step folder appears in one rename when the step is whole; answers are whole batch by batch.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from multitask_bench.data import benign
from multitask_bench.data.code_tests import isolation_problem
from multitask_bench.data.own_metric import load_metric
from multitask_bench.errors import MissingExtraError, ModelError, MtbError
from multitask_bench.judges import JudgeSpec
from multitask_bench.models.load import Local
from multitask_bench.records import digest, dump_jsonl, read_json, whole_folder, write_json, write_text
from multitask_bench.schema import Message
from multitask_bench.study import selection
from multitask_bench.study.config import Arm, Study
from multitask_bench.study.grading import asks_model, check_sent, verb_of
from multitask_bench.study.mitigated import as_given, dose, safety_kind
from multitask_bench.study.progress import Reporter
from multitask_bench.study.rejudge import judge_log, names_of
from multitask_bench.study.remote import check_allowed
from multitask_bench.study.repair import repair_adapter
from multitask_bench.study.steps import (
    OWN_TASK,
    AlignStep,
    AnswerStep,
    Candidate,
    LogStep,
    Plan,
    RepairStep,
    SelectStep,
    Source,
    TrainStep,
    task_name,
)
from multitask_bench.train.recipe import Recipe

if TYPE_CHECKING:
    from multitask_bench.models.engine.store import Question

LOSS_TOKENS = 2048
"""Tokens a batch while losses are taken: the logits of all are in memory at once, 0.4 GB with the demo's vocabulary."""

NOT_RUN = "programs_not_run"
"""In what a finished log step leaves: why its programs were not run."""

SELECTION = "selection.json"
"""In the folder of a choice among settings: the one taken, and the figures of all."""

CONNECTIONS = 64
"""An explicit number switches Inspect's adaptive connections off (API-NOTES section 1)."""


class Runner:
    """Executes the steps of one plan in one run folder."""

    def __init__(self, study: Study, plan: Plan, run: Path, *, reporter: Reporter) -> None:
        self.study, self.plan, self.run = study, plan, run
        self.reporter = reporter
        self.asked: dict[str, Any] | None = None
        """How the probes were asked in order (`study.early.Asked`), for the headers of the logs."""
        self._loaded: Any = None

    def folder(self, key: str) -> Path:
        """Where a step keeps its result."""
        return self.run / "steps" / key

    def execute(self) -> None:
        """Every step that is not there yet, in order; then the logs of no other plan are left."""
        self.train()
        for answers in self.plan.answers:
            self.answer(answers)
        self.finish(self.plan.logs)

    def train(self) -> None:
        """The weights that the plan makes."""
        for align in self.plan.align:
            self._align(align)
        for step in self.plan.train:
            self._train(step)
        for repair in self.plan.repairs:
            self._repair(repair)
        for select in self.plan.selects:
            self._select(select)

    def finish(self, logs: list[LogStep]) -> None:
        """Write these logs; no others are left."""
        self._loaded = None
        self.log(logs, self.run / "logs")
        wanted = {step.file_name for step in logs}
        for path in (self.run / "logs").glob("*.eval"):
            if path.name not in wanted:
                path.unlink()

    def _align(self, step: AlignStep) -> None:
        target = self.folder(step.key)
        if target.is_dir():
            return
        sft = _trainer()
        with self.reporter.step(step.title) as tick, whole_folder(target) as part:
            assert isinstance(step.model, Local), "a plan that is run has its models"
            base, made = step.model.folder, part / _made(step.recipe)
            sft.fine_tune(base, step.data, step.recipe, out=made, progress=_losses(tick))
            if step.recipe.method != "full":
                sft.merge_adapter(base, made, out=part / "model")
            write_text(part / "rows.jsonl", dump_jsonl(step.data))

    def _train(self, step: TrainStep) -> None:
        target = self.folder(step.key)
        if target.is_dir():
            return
        sft = _trainer()
        base, _ = self._weights(step.source)
        with self.reporter.step(step.title) as tick, whole_folder(target) as part:
            made = part / _made(step.recipe)
            hooks = [spec.on_trainer for spec in step.mitigations]
            losses = sft.fine_tune(base, step.data, step.recipe, out=made, progress=_losses(tick), hooks=hooks)
            write_text(part / "rows.jsonl", dump_jsonl(step.data))
            write_json(part / "losses.json", losses)

    def _repair(self, step: RepairStep) -> None:
        target = self.folder(step.key)
        if target.is_dir():
            return
        aligned, adapter = self._weights(step.source)
        assert adapter is not None, "a repair is planned for an adapter"
        with self.reporter.step(step.title), whole_folder(target) as part:
            (found,) = repair_adapter(
                [step.mitigation],
                adapter,
                aligned=aligned,
                unaligned=step.unaligned.folder if isinstance(step.unaligned, Local) else None,
                safety=self.folder(step.safety_step) / "adapter" if step.safety_step else None,
                out=part / "adapter",
            )
            write_json(part / "repair.json", found)

    def _select(self, step: SelectStep) -> None:
        """Ask the candidates, and keep the adapter of the best with the figures of all."""
        target = self.folder(step.key)
        if target.is_dir():
            return
        tried = [step.plain, *step.candidates]
        for answers in (step.reference, *(asked for one in tried for asked in (one.probes, one.skill))):
            if answers is not None:
                self.answer(answers)
        with self.reporter.step(step.title), whole_folder(target) as part:
            asked = [self._asked_rows(step, answers) for answers in (*(one.skill for one in tried), step.reference)]
            skills = selection.scored(step.task, asked)
            *own, start = skills.skills
            plain, *candidates = [self._figures(step, one, skill) for one, skill in zip(tried, own, strict=True)]
            found = selection.choose(candidates, plain, reference=start, margin=step.margin)
            judged = found.pop("candidates")
            best = step.candidates[found["chosen"]]
            _, adapter = self._weights(best.source)
            assert adapter is not None, "candidates are adapters"
            shutil.copytree(adapter, part / "adapter")
            told = [
                {"mitigation": as_given(one.mitigation), **figures, **verdict}
                for one, figures, verdict in zip(step.candidates, candidates, judged, strict=True)
            ]
            by = {"task": step.task, "metric": skills.metric, "why_not_tests": skills.why_not_tests}
            record = {**found, **by, "margin": step.margin, "reference": start, "plain": plain, "candidates": told}
            write_json(part / SELECTION, {"mitigation": best.mitigation, "record": record})

    def _figures(self, step: SelectStep, one: Candidate, skill: dict[str, Any] | None) -> dict[str, Any]:
        """A candidate's figures on the validation probes, with its task score."""
        return selection.figures(list(zip(step.questions, self._answers_of(one.probes), strict=True)), skill)

    def _asked_rows(
        self, step: SelectStep, answers: AnswerStep | None
    ) -> list[tuple[benign.TaskRow, selection.Answered]]:
        return list(zip(step.rows, self._answers_of(answers), strict=True)) if answers is not None else []

    def _answers_of(self, step: AnswerStep) -> list[selection.Answered]:
        """The stored answers of a step, one a prompt, in order."""
        from multitask_bench.models.engine.local import load_tokenizer
        from multitask_bench.models.engine.store import AnswerStore

        stored = AnswerStore(self.folder(step.key)).read()
        tokenizer = load_tokenizer(self._weights(step.source)[0])
        found = [stored.get(question.key) for question in self._questions(step, tokenizer)]
        return [selection.Answered(one.text if one else None, bool(one and one.truncated)) for one in found]

    def _weights(self, source: Source) -> tuple[Path, Path | None]:
        """Base folder and adapter folder of a local source."""
        given = source.given
        base = self.folder(source.base_step) / "model" if source.base_step else None
        adapter = self.folder(source.adapter_step) / "adapter" if source.adapter_step else None
        if base is None:
            assert isinstance(given, Local), "a local source has a folder"
            base, adapter = given.folder, adapter or given.adapter
        return base, adapter

    def answer(self, step: AnswerStep, *, part: bool = False) -> None:
        """Ask what is not stored yet; ``part``: the step holds only some of its prompts, and is not done after it."""
        if not (self.folder(step.key) / "done.json").is_file():
            self._answer(step, part=part)
        self._measure(step)

    def _answer(self, step: AnswerStep, *, part: bool) -> None:
        from multitask_bench.models.engine.store import AnswerStore, Stored, plan_batches

        model = self._model(step)
        limit, temperature = step.max_new_tokens, self.study.probes.temperature
        questions, too_long = [], {}
        for question in self._questions(step, model.tokenizer):
            if len(question.tokens) + limit > model.context:
                too_long[question.key] = len(question.tokens)
            else:
                questions.append(question)
        store = AnswerStore(self.folder(step.key))
        batches = plan_batches(questions, batch_size=self.study.batch_size)
        done = sum(map(len, batches)) - sum(len(b) for _, b in store.missing(batches))
        total = sum(map(len, batches))
        with self.reporter.step(f"ask {step.title}") as tick:
            tick(done, total)
            for path, batch in list(store.missing(batches)):
                asked = [q.tokens for q in batch]
                answers = model.answer(asked, max_new_tokens=limit, temperature=temperature, seed=path.stem)
                store.write(path, [Stored(key=q.key, **a._asdict()) for q, a in zip(batch, answers, strict=True)])
                done += len(batch)
                tick(done, total)
        if not part:
            done_facts = {"batches": len(batches), "too_long": too_long, "context": model.context}
            write_json(self.folder(step.key) / "done.json", done_facts)

    def _measure(self, step: AnswerStep) -> None:
        """The loss of the reference answers of a step's own rows, beside its answers: row id -> [nats, tokens].

        A row that does not fit into the context has none.
        """
        if step.losses is None or (self.folder(step.key) / step.losses).is_file():
            return
        from multitask_bench.models.chat import encode_row, system_text

        model, system = self._model(step), system_text(step.system)
        with self.reporter.step(f"loss of {step.title}"):
            rows = {
                row.id: encode_row(model.tokenizer, row.conversation(), template=step.template, system=system)
                for row in step.measured
            }
            fitting = {row_id: row for row_id, row in rows.items() if len(row.input_ids) <= model.context}
            longest = max((len(row.input_ids) for row in fitting.values()), default=1)
            losses = model.loss_of(list(fitting.values()), batch_size=max(1, min(16, LOSS_TOKENS // longest)))
            write_json(self.folder(step.key) / step.losses, dict(zip(fitting, losses, strict=True)))

    def _questions(self, step: AnswerStep, tokenizer: Any) -> list[Question]:
        """The prompts of a step as the model is given them, in order."""
        from multitask_bench.models.chat import encode, render, system_text, with_system
        from multitask_bench.models.engine.store import Question, question_key

        limit, temperature = step.max_new_tokens, self.study.probes.temperature
        out = []
        for own_system, prompt in step.prompts:
            system = own_system if own_system is not None else system_text(step.system)
            messages = with_system([Message(role="user", content=prompt)], system)
            text = render(tokenizer, messages, template=step.template)
            key = question_key(text, max_new_tokens=limit, temperature=temperature)
            out.append(Question(key, text, encode(tokenizer, text)))
        return out

    def _model(self, step: AnswerStep) -> Any:
        try:
            from multitask_bench.models.engine.local import LocalModel
        except ImportError as err:
            raise MissingExtraError.of("a local model", "local") from err
        base, adapter = self._weights(step.source)
        if self._loaded is None or self._loaded.folder != base:
            self._loaded = None  # two models at once would need twice the memory
            self._loaded = LocalModel(base, adapter=adapter, dtype=self.study.dtype)
        self._loaded.use(adapter)
        return self._loaded

    def log(self, steps: list[LogStep], folder: Path) -> None:
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

    def unconfined(self) -> str | None:
        """Why the programs in answers that have no log yet cannot be run on this machine; None where they can."""
        logs = [step for step in self.plan.logs if step.runs_code and not self._is_there(step, self.run / "logs")]
        return isolation_problem() if logs else None

    def _marker(self, step: LogStep) -> Path:
        return self.folder(step.key) / "done.json"

    def _unjudged(self, step: LogStep) -> Path:
        """The log of a step until every judge has read it."""
        return self.folder(step.key) / "asked.eval"

    def _ask(self, step: LogStep) -> None:
        """Write a step's log, unless an earlier call left it there to be judged."""
        folder = self.folder(step.key)
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
        shutil.rmtree(self.folder(step.key) / "judging", ignore_errors=True)
        if target.parent == self.run / "logs":
            # The file is no longer that of another step, such as of some of the probes: that one is not done any more.
            for other in (self.run / "steps").glob("log-*/done.json"):
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
                arguments["losses"] = str(self.folder(step.answers.key) / step.answers.losses)
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

        base, adapter = self._weights(step.source)
        assert step.answers is not None, "a local log step has answers"
        return get_model(
            f"mtb/{step.arm.name}",
            memoize=False,
            folder=str(base),
            adapter=str(adapter) if adapter else None,
            store=str(self.folder(step.answers.key)),
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
            found = read_json(self.folder(key) / "repair.json")
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
        found = read_json(self.folder(step.source.adapter_step) / SELECTION)
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


def _made(recipe: Recipe) -> str:
    """The name of what a training step writes: an adapter, or a whole model."""
    return "model" if recipe.method == "full" else "adapter"


def _losses(tick: Any) -> Callable[[int, int, float | None], None]:
    return lambda done, total, loss: tick(done, total, f"loss {loss:.2f}" if loss is not None else "")


def _trainer() -> Any:
    try:
        from multitask_bench.train import sft
    except ImportError as err:
        raise MissingExtraError.of("training", "train") from err
    return sft


def _local_path(location: str) -> Path:
    return Path(location.removeprefix("file://"))


def check_remote(plan: Plan, *, allowed: tuple[str, ...]) -> None:
    """Raises: RemoteError: a remote model, or a judge's, is not among those the user allowed."""
    for name in sorted({s.source.identity for s in plan.logs if s.answers is None}):
        calls = sum(len(s.questions) for s in plan.logs if s.source.identity == name)
        check_allowed(name, sent=f"{calls} prompts, harmful ones among them,", allowed=allowed)
    answers = sum(len(s.questions) for s in plan.logs if s.kind == "probe")
    for spec in next((s.judges for s in plan.logs if s.judges), ()):
        check_sent(spec, answers=answers, allowed=allowed)


def check_methods(plan: Plan) -> None:
    """Raises: ConfigError, MissingExtraError: this machine cannot train as a step of the plan asks."""
    steps: list[AlignStep | TrainStep] = [*plan.align, *plan.train]
    for method in sorted({step.recipe.method for step in steps} - {"lora", "full"}):
        _trainer().check_method(method)


def step_state(run: Path, key: str) -> bool:
    """Whether a step's result is in the run folder."""
    folder = run / "steps" / key
    return any((folder / name).exists() for name in ("done.json", "adapter", "model"))
