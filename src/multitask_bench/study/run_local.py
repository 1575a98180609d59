"""Run a plan on this machine: a step that is there is not run again, a killed one starts over.

A step folder appears in one rename when the step is whole; answers are whole batch by batch.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from multitask_bench.data import benign
from multitask_bench.errors import MissingExtraError
from multitask_bench.models.load import Local
from multitask_bench.records import dump_jsonl, whole_folder, write_json, write_text
from multitask_bench.schema import Message
from multitask_bench.study import selection
from multitask_bench.study.config import Study
from multitask_bench.study.grading import check_sent
from multitask_bench.study.log_writer import LogWriter
from multitask_bench.study.mitigated import as_given
from multitask_bench.study.progress import Reporter
from multitask_bench.study.remote import check_allowed
from multitask_bench.study.repair import repair_adapter
from multitask_bench.study.step_folders import SELECTION, StepFolders
from multitask_bench.study.steps import (
    AlignStep,
    AnswerStep,
    Candidate,
    LogStep,
    Plan,
    RepairStep,
    SelectStep,
    TrainStep,
)
from multitask_bench.train.recipe import Recipe

if TYPE_CHECKING:
    from multitask_bench.models.engine.store import Question

LOSS_TOKENS = 2048
"""Tokens a batch while losses are taken: the logits of all are in memory at once, 0.4 GB with the demo's vocabulary."""


class Runner:
    """Executes the steps of one plan in one run folder."""

    def __init__(self, study: Study, plan: Plan, run: Path, *, reporter: Reporter) -> None:
        self.study, self.plan, self.run = study, plan, run
        self.reporter = reporter
        self.folders = StepFolders(run)
        self.logs = LogWriter(study, plan, self.folders, reporter=reporter)
        self._loaded: Any = None

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
        self.logs.write(logs, self.folders.logs)
        wanted = {step.file_name for step in logs}
        for path in self.folders.logs.glob("*.eval"):
            if path.name not in wanted:
                path.unlink()

    def _align(self, step: AlignStep) -> None:
        target = self.folders.of(step.key)
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
        target = self.folders.of(step.key)
        if target.is_dir():
            return
        sft = _trainer()
        base, _ = self.folders.weights(step.source)
        with self.reporter.step(step.title) as tick, whole_folder(target) as part:
            made = part / _made(step.recipe)
            hooks = [spec.on_trainer for spec in step.mitigations]
            losses = sft.fine_tune(base, step.data, step.recipe, out=made, progress=_losses(tick), hooks=hooks)
            write_text(part / "rows.jsonl", dump_jsonl(step.data))
            write_json(part / "losses.json", losses)

    def _repair(self, step: RepairStep) -> None:
        target = self.folders.of(step.key)
        if target.is_dir():
            return
        aligned, adapter = self.folders.weights(step.source)
        assert adapter is not None, "a repair is planned for an adapter"
        with self.reporter.step(step.title), whole_folder(target) as part:
            (found,) = repair_adapter(
                [step.mitigation],
                adapter,
                aligned=aligned,
                unaligned=step.unaligned.folder if isinstance(step.unaligned, Local) else None,
                safety=self.folders.of(step.safety_step) / "adapter" if step.safety_step else None,
                out=part / "adapter",
            )
            write_json(part / "repair.json", found)

    def _select(self, step: SelectStep) -> None:
        """Ask the candidates, and keep the adapter of the best with the figures of all."""
        target = self.folders.of(step.key)
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
            _, adapter = self.folders.weights(best.source)
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

        stored = AnswerStore(self.folders.of(step.key)).read()
        tokenizer = load_tokenizer(self.folders.weights(step.source)[0])
        found = [stored.get(question.key) for question in self._questions(step, tokenizer)]
        return [selection.Answered(one.text if one else None, bool(one and one.truncated)) for one in found]

    def answer(self, step: AnswerStep, *, part: bool = False) -> None:
        """Ask what is not stored yet; ``part``: the step holds only some of its prompts, and is not done after it."""
        if not (self.folders.of(step.key) / "done.json").is_file():
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
        store = AnswerStore(self.folders.of(step.key))
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
            write_json(self.folders.of(step.key) / "done.json", done_facts)

    def _measure(self, step: AnswerStep) -> None:
        """The loss of the reference answers of a step's own rows, beside its answers: row id -> [nats, tokens].

        A row that does not fit into the context has none.
        """
        if step.losses is None or (self.folders.of(step.key) / step.losses).is_file():
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
            write_json(self.folders.of(step.key) / step.losses, dict(zip(fitting, losses, strict=True)))

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
        base, adapter = self.folders.weights(step.source)
        if self._loaded is None or self._loaded.folder != base:
            self._loaded = None  # two models at once would need twice the memory
            self._loaded = LocalModel(base, adapter=adapter, dtype=self.study.dtype)
        self._loaded.use(adapter)
        return self._loaded


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
