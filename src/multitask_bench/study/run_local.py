"""Run a plan on this machine: a step that is there is not run again, a killed one starts over.

A step folder appears in one rename when the step is whole; answers are whole batch by batch.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from multitask_bench.errors import MissingExtraError, MtbError
from multitask_bench.mitigations import mitigations
from multitask_bench.models.load import Local
from multitask_bench.records import digest, dump_jsonl, whole_folder, write_json, write_text
from multitask_bench.schema import Message
from multitask_bench.study.config import Study
from multitask_bench.study.plan import AlignStep, AnswerStep, LogStep, Plan, Source, TrainStep, task_name
from multitask_bench.study.progress import Reporter
from multitask_bench.study.remote import check_allowed
from multitask_bench.train.recipe import Recipe

CONNECTIONS = 64
"""An explicit number switches Inspect's adaptive connections off (API-NOTES section 1)."""


class Runner:
    """Executes the steps of one plan in one run folder."""

    def __init__(self, study: Study, plan: Plan, run: Path, *, reporter: Reporter) -> None:
        self.study, self.plan, self.run = study, plan, run
        self.reporter = reporter
        self._loaded: Any = None

    def folder(self, key: str) -> Path:
        """Where a step keeps its result."""
        return self.run / "steps" / key

    def execute(self) -> None:
        """Every step that is not there yet, in order; then the logs of no other plan are left."""
        for align in self.plan.align:
            self._align(align)
        for step in self.plan.train:
            self._train(step)
        for answers in self.plan.answers:
            self._answer(answers)
        self._loaded = None
        self._log(self.plan.logs)
        wanted = {step.file_name for step in self.plan.logs}
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
            losses = sft.fine_tune(base, step.data, step.recipe, out=made, progress=_losses(tick))
            write_text(part / "rows.jsonl", dump_jsonl(step.data))
            write_json(part / "losses.json", losses)

    def _weights(self, source: Source) -> tuple[Path, Path | None]:
        """Base folder and adapter folder of a local source."""
        given = source.given
        base = self.folder(source.base_step) / "model" if source.base_step else None
        adapter = self.folder(source.adapter_step) / "adapter" if source.adapter_step else None
        if base is None:
            assert isinstance(given, Local), "a local source has a folder"
            base, adapter = given.folder, adapter or given.adapter
        return base, adapter

    def _answer(self, step: AnswerStep) -> None:
        marker = self.folder(step.key) / "done.json"
        if marker.is_file():
            return
        from multitask_bench.models.chat import encode, render, system_text, with_system
        from multitask_bench.models.engine.store import AnswerStore, Question, Stored, plan_batches, question_key

        model = self._model(step)
        limit, temperature = self.study.asked.max_new_tokens, self.study.probes.temperature
        questions, too_long = [], {}
        for own_system, prompt in step.prompts:
            system = own_system if own_system is not None else system_text(step.system)
            messages = with_system([Message(role="user", content=prompt)], system)
            text = render(model.tokenizer, messages, template=step.template)
            key = question_key(text, max_new_tokens=limit, temperature=temperature)
            question = Question(key, text, encode(model.tokenizer, text))
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
        write_json(marker, {"batches": len(batches), "too_long": too_long, "context": model.context})

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

    def _log(self, steps: list[LogStep]) -> None:
        missing = [s for s in steps if not (self._marker(s).is_file() and (self.run / "logs" / s.file_name).is_file())]
        if not missing:
            return
        with self.reporter.step("judge and write logs") as tick:
            for number, step in enumerate(missing):
                tick(number, len(missing), step.title)
                self._write_log(step)
                tick(number + 1, len(missing))

    def _marker(self, step: LogStep) -> Path:
        return self.folder(step.key) / "done.json"

    def _write_log(self, step: LogStep) -> None:
        folder = self.folder(step.key)
        folder.mkdir(parents=True, exist_ok=True)
        questions = folder / "questions.jsonl"
        write_text(questions, dump_jsonl(step.questions))
        log = self._evaluate(step, questions, scratch=folder / "inspect")
        if log.status != "success":
            reason = log.error.message.splitlines()[0] if log.error else log.status
            raise MtbError(f"{step.title}: Inspect stopped ({reason}); run the same command again to continue.")
        target = self.run / "logs" / step.file_name
        target.parent.mkdir(parents=True, exist_ok=True)
        os.replace(_local_path(log.location), target)  # noqa: PTH105  across folders of one run
        shutil.rmtree(folder / "inspect", ignore_errors=True)
        write_json(self._marker(step), {"log": step.file_name, "probes": digest([q.id for q in step.questions])})

    def _evaluate(self, step: LogStep, questions: Path, *, scratch: Path) -> Any:
        from inspect_ai import eval as inspect_eval
        from inspect_ai.model import get_model

        shutil.rmtree(scratch, ignore_errors=True)
        arguments: dict[str, Any] = {"arm": step.arm.name, "system": step.system}
        arguments["max_new_tokens"] = self.study.asked.max_new_tokens
        arguments |= {"template": step.template, "temperature": self.study.probes.temperature}
        if step.kind == "probe":
            name = "multitask_bench/probe"
            arguments |= {"probes": str(questions), "judge": self.study.judge}
            arguments["facts"] = self._facts(step)
        else:
            name = "multitask_bench/task_rows"
            arguments |= {"task": step.task, "rows_file": str(questions)}
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
        arm = step.arm
        recipe = self.study.recipe_of(arm)
        settings = {name: mitigations.make(name, dict(how)).model_dump() for name, how in arm.mitigation.items()}
        kinds = {str(how.pop("kind")) for how in settings.values() if "kind" in how}
        given = step.source.given
        own = given.adapter.name if isinstance(given, Local) and given.adapter else None
        return {
            "stage": arm.stage,
            "group": arm.group,
            "model": step.source.name,
            "adapter": step.source.adapter_step or (step.source.base_step if arm.task else own),
            "finetune_task": task_name(arm),
            "mitigation": "+".join(_described(name, how) for name, how in arm.mitigation.items()) or None,
            "seed": recipe.seed if arm.task else None,
            # What two arms share that differ in the kind of their safety set alone, or in their seed.
            "dose": digest([settings, recipe.model_dump(exclude={"seed"})])[:12] if arm.mitigation else None,
            "safety_kind": kinds.pop() if len(kinds) == 1 else None,
            "train_template": recipe.template if arm.task else None,
            "train_system": recipe.system if arm.task else None,
            "probes_in_training": next(
                (s.probes_held for s in self.plan.train if s.key in (step.source.adapter_step, step.source.base_step)),
                0,
            ),
        }


def _described(name: str, settings: dict[str, Any]) -> str:
    """A mitigation with its settings, such as ``safety_mix(share=0.1, twins=True)``."""
    inner = ", ".join(f"{key}={value}" for key, value in sorted(settings.items()))
    return f"{name}({inner})" if inner else name


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
    """Raises: RemoteError: a remote model is not among those the user allowed."""
    for name in sorted({s.source.identity for s in plan.logs if s.answers is None}):
        calls = sum(len(s.questions) for s in plan.logs if s.source.identity == name)
        check_allowed(name, sent=f"{calls} prompts, harmful ones among them,", allowed=allowed)


def check_methods(plan: Plan) -> None:
    """Raises: ConfigError, MissingExtraError: this machine cannot train as a step of the plan asks."""
    steps: list[AlignStep | TrainStep] = [*plan.align, *plan.train]
    for method in sorted({step.recipe.method for step in steps} - {"lora", "full"}):
        _trainer().check_method(method)


def step_state(run: Path, key: str) -> bool:
    """Whether a step's result is in the run folder."""
    folder = run / "steps" / key
    return any((folder / name).exists() for name in ("done.json", "adapter", "model"))
