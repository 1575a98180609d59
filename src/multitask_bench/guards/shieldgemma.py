"""ShieldGemma: the probability of ``Yes`` against ``No`` to whether a text violates a guideline.

Zeng et al. (2024), arXiv:2407.21772; prompt and guidelines are the published ones. Each of the four guidelines is asked
on its own, as it was trained, and the highest score counts. English only, by its makers. Weights are gated.
Not measured here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from typing_extensions import override

from multitask_bench.guards._spec import TOO_LONG, ReaderGuard, Reads, Screened, Side, Verdict, guards, mapped
from multitask_bench.models.published import (
    SHIELDGEMMA_GUIDELINES,
    SHIELDGEMMA_PROMPT,
    SHIELDGEMMA_RESPONSE,
    SHIELDGEMMA_SUBJECTS,
)

HAZARDS = {"harassment": "hate", "hate": "hate", "sexual": "sexual_content"}
"""Dangerous content is violence, weapons and self-harm in one, so that it maps to no single category of ours."""


@guards.add
class ShieldGemma(ReaderGuard):
    """Four guidelines, one question each; ``response`` reads the answer behind its request."""

    name: ClassVar[str] = "shieldgemma"
    version: ClassVar[int] = 1
    model: str = "google/shieldgemma-2b"

    @override
    def read(self, items: Sequence[Screened], side: Side, reader: Reads) -> list[Verdict]:
        asked = [self.prompt(item, name, side, reader) for item in items for name in SHIELDGEMMA_GUIDELINES]
        scores = reader.token_scores(asked, tokens=("Yes", "No"))
        each = len(SHIELDGEMMA_GUIDELINES)
        return [self.verdict(item.id, scores[i * each : (i + 1) * each]) for i, item in enumerate(items)]

    def prompt(self, item: Screened, guideline: str, side: Side, reader: Reads) -> str:
        """The published prompt for one guideline; what the item holds cannot end the turn."""
        rule = SHIELDGEMMA_GUIDELINES[guideline].format(subject=SHIELDGEMMA_SUBJECTS[side])
        asked = reader.plain(item.prompt.strip())
        if side == "prompt":
            return SHIELDGEMMA_PROMPT.format(prompt=asked, guideline=rule)
        answer = reader.plain((item.response or "").strip())
        return SHIELDGEMMA_RESPONSE.format(prompt=asked, response=answer, guideline=rule)

    def verdict(self, item_id: str, scores: Sequence[dict[str, float] | None]) -> Verdict:
        """The verdict of the four first tokens."""
        shares = {}
        for name, found in zip(SHIELDGEMMA_GUIDELINES, scores, strict=True):
            if found is None:
                return Verdict(id=item_id, flagged=None, reason=TOO_LONG)
            both = found["Yes"] + found["No"]
            if both <= 0:
                return Verdict(id=item_id, flagged=None, reason="neither 'Yes' nor 'No' is possible")
            shares[name] = found["Yes"] / both
        limit = 0.5 if self.threshold is None else self.threshold
        native = tuple(name for name, share in shares.items() if share >= limit)
        return self.decided(item_id, max(shares.values()), categories=mapped(native, HAZARDS), native=native)
