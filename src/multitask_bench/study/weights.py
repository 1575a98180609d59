"""Where the weights of a study's arms come from, and the steps that make them: alignment, fine-tunes, repairs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from multitask_bench.errors import ConfigError
from multitask_bench.mitigations import MitigationSpec
from multitask_bench.models.load import Local, Planned, Remote, model_digest
from multitask_bench.study import rows
from multitask_bench.study.config import Align, Arm, Study
from multitask_bench.study.mitigated import hooked, lengthened, named
from multitask_bench.study.questions import Questions
from multitask_bench.study.steps import (
    FILE_TASK,
    AlignStep,
    RepairStep,
    Source,
    TrainStep,
    key_of,
    recipe_key,
    task_name,
)
from multitask_bench.study.task_sets import training_pool
from multitask_bench.study.training_file import own_rows, probes_held


class Weights:
    """The models that arms start from, and what is made of them; every step is kept once."""

    def __init__(self, study: Study, questions: Questions, opened: Callable[..., Local | Planned | Remote]) -> None:
        self.study, self.questions, self.opened = study, questions, opened
        self.warnings: list[str] = []
        self.align: dict[str, AlignStep] = {}
        self.train: dict[str, TrainStep] = {}
        self.repairs: dict[str, RepairStep] = {}
        self._references: dict[str, Source] = {}

    def source(self, arm: Arm) -> Source:
        """Where the weights of an arm with settled settings come from."""
        source = self._trained(arm)
        for spec in hooked(arm.mitigation, "on_adapter"):
            source = self._repaired(arm, source, spec)
        return source

    def reference(self, name: str, *, trained: bool) -> Source:
        """The model that arms start from, aligned where the study aligns it.

        Raises: ConfigError: it is called by name, and is to be ``trained`` or aligned.
        """
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

    def _trained(self, arm: Arm) -> Source:
        if arm.model is not None:
            return self._given(self.opened(arm.model, base=arm.base))
        reference = self.reference(arm.reference, trained=arm.task is not None)
        if arm.task is None:
            aligned = reference.base_step is not None and arm.stage == "base"
            return self._given(self.opened(arm.reference)) if aligned else reference
        step = self._train_step(arm, arm.task, reference)
        self.train.setdefault(step.key, step)  # the first arm of a fine-tune names it
        identity = f"{reference.identity}+{step.key}"
        if step.recipe.method == "full":
            return Source(None, step.key, None, identity, reference.name, step.key)
        return Source(reference.given, reference.base_step, step.key, identity, reference.name, step.key)

    def _given(self, model: Local | Planned | Remote) -> Source:
        if isinstance(model, Remote):
            return Source(model, None, None, model.name, model.name)
        if isinstance(model, Planned):
            return Source(model, None, None, f"{model.name}@{model.revision or 'newest'}", model.name)
        self.warnings += [note for note in model.warnings if note not in self.warnings]
        return Source(model, None, None, digest_of(model), model.name)

    def _train_step(self, arm: Arm, task: str, reference: Source) -> TrainStep:
        recipe = self.study.recipe_of(arm)
        own, pool, sets = task.startswith(FILE_TASK), None, self.questions.sets
        if own:
            pool = own_rows(Path(task.removeprefix(FILE_TASK)), allow_flagged=self.study.allow_flagged)
        elif task in sets:
            pool = training_pool(sets[task], self.study.tasks[task], max_length=recipe.max_length)
        data = rows.task_rows(
            str(task_name(arm)),
            pool=pool,
            count=recipe.steps * recipe.batch_size,
            mitigation=arm.mitigation,
            seed=recipe.seed,
        )
        recipe = lengthened(recipe, data)
        held = probes_held(data, self.questions.probes) if own or task in sets else 0
        if held:
            self.warnings.append(f"{arm.name}: its training rows hold {held} of the probes; their rates say little")
        trainer = hooked(arm.mitigation, "on_trainer")
        how = {"trainer": named(trainer)} if trainer else {}
        key = key_of("train", reference=reference.identity, recipe=recipe_key(recipe), data=data, **how)
        return TrainStep(key, f"train {arm.name}", reference, recipe, data, held, trainer)

    def _repaired(self, arm: Arm, source: Source, spec: MitigationSpec) -> Source:
        """The arm's adapter after a repair that is held against the model it was trained on."""
        given = source.given
        if source.adapter_step is None and getattr(given, "adapter", None) is None:
            raise ConfigError(f"arm {arm.name}: {spec.name} repairs an adapter, and this arm is a whole model.")
        unaligned = self._unaligned(arm, spec) if "unaligned" in spec.needs else None
        safety = self._safety_adapter(arm, source, spec) if "safety_adapter" in spec.needs else None
        key = key_of(
            "repair",
            adapter=source.identity,
            unaligned=self._given(unaligned).identity if unaligned is not None else None,
            safety=safety.key if safety is not None else None,
            how=named([spec]),
        )
        self.repairs[key] = RepairStep(
            key, f"repair {arm.name} by {spec.name}", source, unaligned, safety.key if safety else None, spec
        )
        return source._replace(adapter_step=key, identity=f"{source.identity}+{key}")

    def _unaligned(self, arm: Arm, spec: MitigationSpec) -> Local | Planned:
        """The model before its alignment: what the study aligned, or what it names as such."""
        if self.study.align is not None and arm.model is None:
            return self.align[arm.reference].model
        if self.study.unaligned is None:
            raise ConfigError(
                f"arm {arm.name}: {spec.name} looks at what alignment changed; name the model before its alignment "
                "with 'unaligned: MODEL'."
            )
        found = self.opened(self.study.unaligned)
        if isinstance(found, Remote):
            raise ConfigError(f"unaligned: {found.name} is called by name; its weights are needed.")
        reference = self.reference(arm.reference, trained=True) if arm.model is None else None
        if reference is not None and self._given(found).identity == reference.identity:
            raise ConfigError(
                f"unaligned: {self.study.unaligned} has the very weights of the aligned model; name its base."
            )
        return found

    def _safety_adapter(self, arm: Arm, source: Source, spec: MitigationSpec) -> TrainStep:
        """An adapter on the arm's own reference, trained with its recipe on refusals and helpful twins."""
        recipe = self.study.recipe_of(arm)
        reference = self.reference(arm.reference, trained=True) if arm.model is None else _without_adapter(source)
        data = rows.safety_adapter_rows(spec.safety, count=recipe.steps * recipe.batch_size, seed=recipe.seed)
        key = key_of("train", reference=reference.identity, recipe=recipe_key(recipe), data=data)
        step = TrainStep(key, f"train safety adapter ({spec.safety['kind']})", reference, recipe, data, 0)
        return self.train.setdefault(key, step)


def digest_of(model: Local) -> str:
    """What names a local model's weights: the hashes of base and adapter."""
    base = model_digest(model.folder)
    return f"{base}+{model_digest(model.adapter, 'adapter')}" if model.adapter else base


def _without_adapter(source: Source) -> Source:
    """The base of a given model with an adapter."""
    given = source.given
    assert isinstance(given, Local), "an adapter is given with its base"
    base = given._replace(adapter=None)
    return Source(base, None, None, digest_of(base), source.name)


def _align_step(model: Local | Planned, identity: str, settings: Align) -> AlignStep:
    data = rows.alignment_rows(
        count=settings.recipe.steps * settings.recipe.batch_size,
        safety=settings.safety,
        chat_rows=settings.chat_rows,
    )
    key = key_of("align", base=identity, recipe=recipe_key(settings.recipe), data=data)
    return AlignStep(key, f"align {model.name}", model, settings.recipe, data)
