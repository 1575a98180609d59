"""An arm's mitigations at work: who is asked at which point of a study."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from multitask_bench.mitigations import Hook, MitigationSpec, Prompts, mitigations
from multitask_bench.schema import Conversation
from multitask_bench.study.config import Arm, Study
from multitask_bench.train.recipe import Recipe


def made(mitigation: Mapping[str, Mapping[str, Any]]) -> list[MitigationSpec]:
    """The mitigations of an arm, in its order.

    Raises: UnknownNameError: no mitigation has that name. ConfigError: a setting it does not have.
    """
    return [mitigations.make(name, dict(settings)) for name, settings in mitigation.items()]


def hooked(mitigation: Mapping[str, Mapping[str, Any]], hook: Hook) -> tuple[MitigationSpec, ...]:
    """Those of an arm's mitigations that act at one point."""
    return tuple(spec for spec in made(mitigation) if hook in spec.hooks())


def named(specs: Sequence[MitigationSpec]) -> list[list[Any]]:
    """What a step's key holds of them: name, version, settings."""
    return [[spec.name, spec.version, spec.told()] for spec in specs]


def prompted(study: Study, arm: Arm) -> Arm:
    """The arm with the system prompts that its mitigations ask for, at training and at test."""
    trained = study.recipe_of(arm).system
    prompts = Prompts(trained, arm.systems)
    for spec in hooked(arm.mitigation, "on_prompt"):
        prompts = spec.on_prompt(prompts)
    changed: dict[str, Any] = {"systems": prompts.test}
    if prompts.train != trained:
        changed["train"] = {**arm.train, "system": prompts.train}
    return arm.model_copy(update=changed)


def lengthened(recipe: Recipe, rows: Sequence[Conversation]) -> Recipe:
    """The recipe with the steps that the rows need: mitigations may have added some."""
    needed = -(-len(rows) // recipe.batch_size)
    return recipe.model_copy(update={"steps": needed}) if needed > recipe.steps else recipe


def without_folders(mitigation: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """The settings as keys hold them: of a file, its name."""
    return {
        name: {key: Path(value).name if key == "file" and value else value for key, value in settings.items()}
        for name, settings in mitigation.items()
    }


def as_given(mitigation: Mapping[str, Mapping[str, Any]]) -> str | None:
    """Mitigations with the settings that the study gives, such as ``safety_mix(share=0.1)``; None for none."""
    return "+".join(_described(name, how) for name, how in without_folders(mitigation).items()) or None


def dose(mitigation: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """All settings but which safety set: what two arms share that differ in their set alone."""
    return {
        name: {key: value for key, value in spec.told().items() if key not in ("kind", "file", "leave_out")}
        for name, spec in _by_name(mitigation)
    }


def safety_kind(mitigation: Mapping[str, Mapping[str, Any]]) -> str | None:
    """Which safety set is mixed into the rows: multitask, plain ..., or ``multitask without FORM``; None for none."""
    mixed = [spec for _, spec in _by_name(mitigation) if "on_data" in spec.hooks() and "kind" in spec.safety]
    if len(mixed) != 1:
        return None
    left_out = mixed[0].safety.get("leave_out")
    return f"{mixed[0].safety['kind']}" + (f" without {left_out}" if left_out else "")


def _by_name(mitigation: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, MitigationSpec]]:
    return list(zip(mitigation, made(mitigation), strict=True))


def _described(name: str, settings: Mapping[str, Any]) -> str:
    inner = ", ".join(f"{key}={value}" for key, value in sorted(settings.items()))
    return f"{name}({inner})" if inner else name
