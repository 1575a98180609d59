"""What a mitigation may change; hooks that a mitigation does not need stay as they are."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Annotated

from pydantic import Field

from multitask_bench.registry import Registry, Spec
from multitask_bench.schema import Conversation


class MitigationSpec(Spec):
    """One way of keeping, or bringing back, the guardrails of a fine-tuned model."""

    refusals: Annotated[int, Field(gt=0)] | None = None
    """How many of the bundled refusal wordings its safety rows use, alike ones first; all when null."""

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
