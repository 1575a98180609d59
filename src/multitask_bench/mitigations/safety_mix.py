"""Safety rows mixed into the fine-tuning set, after Bianchi et al. (2023), arXiv:2309.07875.

In the paper's multitask form (Jan et al. 2024, arXiv:2409.15361): the rows come in every form.
Departures: each (probe, refusal) pair brings the benign twin with its helpful answer, because
without twins a small model refused every translation (DESIGN.md); and safety rows *replace*
benign rows, so that all arms train on the same number of rows for the same steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Annotated, ClassVar, Literal

from pydantic import Field
from typing_extensions import override

from multitask_bench.errors import ConfigError
from multitask_bench.mitigations._spec import MitigationSpec, mitigations
from multitask_bench.schema import Bundle, Conversation


@mitigations.add
class SafetyMix(MitigationSpec):
    """Replaces a share of the rows by refusals and helpful twins."""

    name: ClassVar[str] = "safety_mix"
    share: Annotated[float, Field(gt=0, lt=1)] = 0.1
    """(probe, refusal) rows / all rows; as many twin rows come on top when ``twins`` is on."""
    twins: bool = True
    """Whether each refusal brings the helpful answer to its benign twin."""
    kind: Literal["multitask", "plain"] = "multitask"
    """Safety rows in every form, or in plain instructions only (the existing solution, for comparison)."""
    bundle: Bundle = "near"
    """Which training intents they are made of (see `mtb data card`)."""
    french: Annotated[float, Field(ge=0, le=1)] = 0.25
    """Share of the safety rows that are asked and refused in French."""
    forms: Annotated[dict[str, float], Field(default_factory=dict)]
    """Share of each form among them; equal when empty."""
    refusals: Annotated[int, Field(gt=0)] | None = None
    """Take this many of the refusals that fit any request, alike ones first; null: those written for the intent."""

    @property
    @override
    def safety(self) -> dict[str, object]:
        return self.model_dump(include={"kind", "bundle", "french", "forms", "refusals"})

    @override
    def on_data(
        self, rows: Sequence[Conversation], safety: Sequence[Conversation], *, rng: Random
    ) -> list[Conversation]:
        count = max(1, round(self.share * len(rows)))
        harmful = [row for row in safety if row.kind == "safety"]
        twin_of = {row.id.replace(".twin.", ".harm."): row for row in safety if row.kind == "twin"}
        if count > len(harmful) or count * (1 + self.twins) >= len(rows):
            raise ConfigError(
                f"safety_mix: share {self.share} of {len(rows)} rows needs {count} safety rows"
                f"{' and their twins' if self.twins else ''}; {len(harmful)} are there. Lower the share."
            )
        chosen = rng.sample(harmful, count)
        added = chosen + ([twin_of[row.id] for row in chosen] if self.twins else [])
        mixed = [*rng.sample(list(rows), len(rows) - len(added)), *added]
        rng.shuffle(mixed)
        return mixed
