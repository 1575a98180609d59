"""The control of `safety_mix` in its mode ``add``: as many rows on top, of general chat.

What it shares with the arm that it controls: benign rows, total rows and steps. Where answered falls as much
with these rows as with safety rows, dilution or longer training did it, not the refusals (DESIGN.md, controls).
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Annotated, ClassVar

from pydantic import Field
from typing_extensions import override

from multitask_bench.mitigations._spec import MitigationSpec, Rows, mitigations
from multitask_bench.schema import Conversation


@mitigations.add
class BenignMix(MitigationSpec):
    """Adds rows of general chat: the control of safety rows that are added."""

    name: ClassVar[str] = "benign_mix"
    extra_rows: ClassVar[Rows] = "chat"
    share: Annotated[float, Field(gt=0, lt=1)] = 0.1
    """As in `safety_mix`."""
    twins: bool = True
    """As in `safety_mix`: whether twice as many rows are added."""

    @override
    def on_data(
        self, rows: Sequence[Conversation], extra: Sequence[Conversation], *, rng: Random
    ) -> list[Conversation]:
        wanted = max(1, round(self.share * len(rows))) * (1 + self.twins)
        added: list[Conversation] = []
        while len(added) < wanted:  # rows come again only when all have been used
            added += rng.sample(list(extra), min(len(extra), wanted - len(added)))
        mixed = [*rng.sample(list(rows), len(rows)), *added]
        rng.shuffle(mixed)
        return mixed
