"""What a mitigation may change; hooks that a mitigation does not need stay as they are."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from multitask_bench.registry import Registry, Spec
from multitask_bench.schema import Conversation


class MitigationSpec(Spec):
    """One way of keeping, or bringing back, the guardrails of a fine-tuned model."""

    @property
    def safety(self) -> dict[str, object]:
        """Settings of the safety set that `on_data` is handed, as in `study.safety_set.SafetySet`."""
        return {}

    def on_data(
        self,
        rows: Sequence[Conversation],
        safety: Sequence[Conversation],  # noqa: ARG002  for those that override
        *,
        rng: Random,  # noqa: ARG002
    ) -> list[Conversation]:
        """The training rows: by default ``rows``. ``safety`` holds refusals and helpful twins."""
        return list(rows)


mitigations: Registry[MitigationSpec] = Registry("mitigation", "multitask_bench.mitigations")
