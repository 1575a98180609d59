"""Settings of the safety adapter that repairs lean on: what it is trained on."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field
from typing_extensions import override

from multitask_bench.mitigations._spec import MitigationSpec
from multitask_bench.schema import Bundle


class SafetyAdapter(MitigationSpec):
    """A repair that needs an adapter trained on refusals and helpful twins."""

    kind: Literal["multitask", "plain"] = "multitask"
    """Its rows in every form, or in plain instructions only."""
    bundle: Bundle = "near"
    """Which training intents they are made of."""
    french: Annotated[float, Field(ge=0, le=1)] = 0.25
    """Share of the rows that are asked and refused in French."""
    refusals: Annotated[int, Field(gt=0)] | None = None
    """As in `safety_mix`."""

    @property
    @override
    def safety(self) -> dict[str, object]:
        return self.model_dump(include={"kind", "bundle", "french", "refusals"})
