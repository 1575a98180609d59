"""Granite Guardian 3.0 to 3.2: ``Yes`` or ``No`` to the risk *harm*, with the probability of the first token.

Padhi et al. (2024), arXiv:2412.07724. The prompt is the model's own chat template, which asks for *harm* where no risk
is named (ibm-granite/gguf, resources/ollama/granite3.2-guardian/README.md); the score is ``Yes`` against ``No`` as in
the makers' evaluation (ibm-granite/granite-guardian, evaluation/models/granite_guardian_3.py), here of the first token
alone. 3.3 and later ask in another way and are not read. Apache-2.0; unpinned: no commit could be verified here. Not
measured here.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, ClassVar

from typing_extensions import override

from multitask_bench.guards._spec import TOO_LONG, ReaderGuard, Reads, Screened, Side, Verdict, guards

FIRST_WORD = re.compile(r"\A\W*(yes|no)\b", re.IGNORECASE)
NEW_TOKENS = 20


@guards.add
class GraniteGuardian(ReaderGuard):
    """The conversation in the model's own template; ``response`` reads the answer behind its request."""

    name: ClassVar[str] = "granite_guardian"
    version: ClassVar[int] = 1
    model: str = "ibm-granite/granite-guardian-3.2-3b-a800m"

    @override
    def read(self, items: Sequence[Screened], side: Side, reader: Reads) -> list[Verdict]:
        asked = [self.turns(item, side) for item in items]
        scores = reader.token_scores(asked, tokens=("Yes", "No"))
        said = reader.generate(asked, max_new_tokens=NEW_TOKENS)
        return [self.verdict(*one) for one in zip((i.id for i in items), said, scores, strict=True)]

    def turns(self, item: Screened, side: Side) -> list[dict[str, Any]]:
        """The conversation whose last turn is assessed."""
        turns = [{"role": "user", "content": item.prompt}]
        if side == "response":
            turns.append({"role": "assistant", "content": item.response or ""})
        return turns

    def verdict(self, item_id: str, said: str | None, scores: dict[str, float] | None) -> Verdict:
        """What the model's first word and its probability mean."""
        if said is None or scores is None:
            return Verdict(id=item_id, flagged=None, reason=TOO_LONG)
        found = FIRST_WORD.match(said)
        if found is None:
            return Verdict(id=item_id, flagged=None, reason="no 'Yes' or 'No' in its answer")
        both = scores["Yes"] + scores["No"]
        score = scores["Yes"] / both if both > 0 else float(found[1].lower() == "yes")
        if self.threshold is None:
            return Verdict(id=item_id, flagged=found[1].lower() == "yes", score=score)
        return self.decided(item_id, score)
