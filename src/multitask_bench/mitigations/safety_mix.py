"""Safety rows mixed into the fine-tuning set, after Bianchi et al. (2023), arXiv:2309.07875.

Theirs is the sum of two losses over one concatenated set, L = E_task[-log p] + E_safe[-log p(refusal | request)],
with a few hundred plain instructions. In the multitask form of Jan et al. (2024), arXiv:2409.15361, the rows come
in every form; Eiras et al. (2025), arXiv:2406.10288, had the same thought for the task's own form. Departures:
each (probe, refusal) pair brings the benign twin with its helpful answer, because without twins a small model
refused every translation (DESIGN.md); and the mode ``replace``, in which an arm trains on the same number of rows
for the same steps as one without. ``add`` is what both papers did: the benign rows stay, and the control is
`benign_mix` with the same settings. ``leave_out`` leaves the rows of one form away, so that this form tests
whether safety carries over; half of the probes of every form are in wordings that no training row had.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator
from typing_extensions import override

from multitask_bench.errors import ConfigError
from multitask_bench.mitigations._spec import MitigationSpec, mitigations
from multitask_bench.schema import Bundle, Conversation

FOREIGN = ("authors", "bianchi")


@mitigations.add
class SafetyMix(MitigationSpec):
    """Mixes refusals and helpful twins into the rows."""

    name: ClassVar[str] = "safety_mix"
    share: Annotated[float, Field(gt=0, lt=1)] = 0.1
    """(probe, refusal) rows / benign rows as they were; as many twin rows come on top when ``twins`` is on."""
    twins: bool = True
    """Whether each refusal brings the helpful answer to its benign twin."""
    kind: Literal["multitask", "plain", "authors", "bianchi"] = "multitask"
    """Safety rows in every form, in plain instructions only (the existing solution, for comparison), or another's
    set from ``file``: MultiTaskBench's own, or Safety-Tuned LLaMAs'."""
    bundle: Bundle = "near"
    """Which training intents they are made of (see `mtb data card`)."""
    french: Annotated[float, Field(ge=0, le=1)] = 0.25
    """Share of the safety rows that are asked and refused in French."""
    forms: Annotated[dict[str, float], Field(default_factory=dict)]
    """Share of each form among them; equal when empty."""
    refusals: Annotated[int, Field(gt=0)] | None = None
    """Take this many of the refusals that fit any request, alike ones first; null: those written for the intent."""
    mode: Literal["replace", "add"] = "replace"
    """Safety rows take the place of benign rows, or come on top of them with the steps that they need."""
    leave_out: str | None = None
    """A form that the safety rows do not show."""
    file: str | None = None
    """The file of another's set (``kind: authors`` or ``bianchi``)."""

    @model_validator(mode="after")
    def _set_is_there(self) -> SafetyMix:
        if (self.kind in FOREIGN) != (self.file is not None):
            raise ValueError("kind 'authors' and 'bianchi' need 'file', the others take none")
        if self.file is not None and self.twins:
            raise ValueError("twins: others' sets have none; set twins: false")
        if self.file is not None and (self.forms or self.leave_out):
            raise ValueError("forms and leave_out choose among our rows, not among another's")
        if self.leave_out is not None and (self.kind == "plain" or self.forms):
            raise ValueError("leave_out needs the multitask set with equal shares of forms")
        return self

    @property
    @override
    def safety(self) -> dict[str, object]:
        if self.file is not None:
            return {"kind": self.kind, "file": self.file}
        left_out = {"leave_out": self.leave_out} if self.leave_out is not None else {}
        return self.model_dump(include={"kind", "bundle", "french", "forms", "refusals"}) | left_out

    @override
    def told(self) -> dict[str, Any]:
        # Settings of later releases are told where they are set: results of earlier ones stay comparable.
        later = {"mode": "replace", "leave_out": None, "file": None}
        out = {key: value for key, value in self.model_dump(mode="json").items() if later.get(key, value) != value}
        out |= {key: value for key, value in self.model_dump(mode="json").items() if key not in later}
        return out | ({"file": Path(self.file).name} if self.file is not None else {})

    @override
    def on_data(
        self, rows: Sequence[Conversation], extra: Sequence[Conversation], *, rng: Random
    ) -> list[Conversation]:
        count = max(1, round(self.share * len(rows)))
        harmful = [row for row in extra if row.kind == "safety"]
        twin_of = {row.id.replace(".twin.", ".harm."): row for row in extra if row.kind == "twin"}
        replaced = 0 if self.mode == "add" else count * (1 + self.twins)
        if count > len(harmful) or replaced >= len(rows):
            raise ConfigError(
                f"safety_mix: share {self.share} of {len(rows)} rows needs {count} safety rows"
                f"{' and their twins' if self.twins else ''}; {len(harmful)} are there. Lower the share."
            )
        chosen = rng.sample(harmful, count)
        added = chosen + ([twin_of[row.id] for row in chosen] if self.twins else [])
        mixed = [*rng.sample(list(rows), len(rows) - replaced), *added]
        rng.shuffle(mixed)
        return mixed
