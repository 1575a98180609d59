"""What a mitigation may change: the data, the trainer, the adapter, or the prompt policy.

A mitigation is one file with one class that overrides one or more of the four hooks; those it does not
override change nothing, and no step of a study depends on them. Importing a mitigation loads no torch: hooks
that handle tensors import it inside.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple

from multitask_bench.registry import Registry, Spec
from multitask_bench.schema import Conversation

if TYPE_CHECKING:
    from multitask_bench.mitigations._lora import Lora, References

Hook = Literal["on_data", "on_trainer", "on_adapter", "on_prompt"]
HOOKS: tuple[Hook, ...] = ("on_data", "on_trainer", "on_adapter", "on_prompt")
Rows = Literal["safety", "chat"]
Need = Literal["unaligned", "safety_adapter"]


class Prompts(NamedTuple):
    """The system prompt policies of an arm: none, safety, or own text."""

    train: str
    test: tuple[str, ...]


class MitigationSpec(Spec):
    """One way of keeping, or bringing back, the guardrails of a fine-tuned model."""

    version: ClassVar[int] = 1
    """Raised when the same settings would give another result."""
    extra_rows: ClassVar[Rows] = "safety"
    """What `on_data` is handed beside the training rows."""
    needs: ClassVar[frozenset[Need]] = frozenset()
    """What `on_adapter` is handed beside the adapter."""

    @classmethod
    def hooks(cls) -> tuple[Hook, ...]:
        """The hooks that this mitigation overrides."""
        return tuple(name for name in HOOKS if getattr(cls, name) is not getattr(MitigationSpec, name))

    @property
    def safety(self) -> dict[str, object]:
        """Settings of the safety set it uses, as in `study.safety_set.SafetySet`."""
        return {}

    def told(self) -> dict[str, Any]:
        """The settings as results tell them: no folders of the user's."""
        return self.model_dump(mode="json")

    def on_data(
        self,
        rows: Sequence[Conversation],
        extra: Sequence[Conversation],  # noqa: ARG002  for those that override
        *,
        rng: Random,  # noqa: ARG002
    ) -> list[Conversation]:
        """The training rows: by default ``rows``.

        ``extra`` holds refusals and helpful twins, or general chat (`extra_rows`). More rows than before mean
        more steps: every row is seen once.
        """
        return list(rows)

    def on_trainer(self, trainer: Any) -> Any:
        """The trainer that is run, built and not yet started: a TRL ``SFTTrainer``.

        It may be changed (``add_callback``, ``args``, a wrapped ``compute_loss``) and returned, or replaced.
        """
        return trainer

    def on_adapter(self, adapter: Lora, references: References) -> Lora:  # noqa: ARG002
        """The repaired adapter, made without training; ``references`` holds the aligned model's weights."""
        return adapter

    def on_prompt(self, prompts: Prompts) -> Prompts:
        """The system prompts at training and at test."""
        return prompts


mitigations: Registry[MitigationSpec] = Registry("mitigation", "multitask_bench.mitigations")
