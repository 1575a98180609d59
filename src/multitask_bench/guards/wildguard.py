"""WildGuard: three yes-or-no answers on a request and the answer to it.

Han et al. (2024), arXiv:2406.18495; the prompt is the published one. The model says whether the request is harmful,
whether the answer refuses, and whether the answer is harmful; read strictly, so that a missing line is no verdict. It
gives no probability, so its score is 0 or 1. Weights are gated. Not measured here.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import ClassVar

from typing_extensions import override

from multitask_bench.guards._spec import TOO_LONG, ReaderGuard, Reads, Screened, Side, Verdict, guards
from multitask_bench.models.published import WILDGUARD

LINES = {
    "prompt": re.compile(r"^Harmful request:\s*(yes|no)\s*$", re.IGNORECASE | re.MULTILINE),
    "response": re.compile(r"^Harmful response:\s*(yes|no)\s*$", re.IGNORECASE | re.MULTILINE),
}
NEW_TOKENS = 32
"""As in the model card."""


@guards.add
class WildGuard(ReaderGuard):
    """The published prompt; ``response`` reads the answer behind its request."""

    name: ClassVar[str] = "wildguard"
    version: ClassVar[int] = 1
    model: str = "allenai/wildguard"

    @override
    def read(self, items: Sequence[Screened], side: Side, reader: Reads) -> list[Verdict]:
        asked = [self.prompt(item, side, reader) for item in items]
        said = reader.generate(asked, max_new_tokens=NEW_TOKENS)
        return [self.verdict(item.id, text, side) for item, text in zip(items, said, strict=True)]

    def prompt(self, item: Screened, side: Side, reader: Reads) -> str:
        """The published prompt around the item; what it holds cannot end the turn."""
        response = item.response or "" if side == "response" else ""
        return WILDGUARD.format(prompt=reader.plain(item.prompt), response=reader.plain(response))

    def verdict(self, item_id: str, said: str | None, side: Side) -> Verdict:
        """What the model's lines say of one side."""
        if said is None:
            return Verdict(id=item_id, flagged=None, reason=TOO_LONG)
        found = LINES[side].search(said)
        if found is None:
            return Verdict(id=item_id, flagged=None, reason=f"no line on the {side} in its answer")
        harmful = found[1].lower() == "yes"
        return self.decided(item_id, float(harmful))
