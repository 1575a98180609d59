"""Llama Guard 3 and 4: a model that writes ``safe``, or ``unsafe`` and the hazards of the MLCommons taxonomy.

Inan et al. (2023), arXiv:2312.06674; model cards in meta-llama/PurpleLlama (Llama-Guard3, Llama-Guard4). The prompt is
the model's own chat template around the conversation. The score is the share of ``unsafe`` in the first token, as the
card says; where the model begins with something else (a line break), there is only its word. Weights are gated.
Not measured here.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, ClassVar, Literal

from typing_extensions import override

from multitask_bench.guards._spec import TOO_LONG, ReaderGuard, Reads, Screened, Side, Verdict, guards
from multitask_bench.models.published import LLAMA_GUARD_HAZARDS

WORD = re.compile(r"\A\s*(safe|unsafe)\b[ \t]*(?:\n\s*(?P<codes>[^\n]*))?", re.IGNORECASE)
CODE = re.compile(r"\bS(?:1[0-4]|[1-9])\b")
NEW_TOKENS = 20
"""A word and a line of codes."""
MOST = 0.5
"""Below this share of both words together the first token is something else."""


@guards.add
class LlamaGuard(ReaderGuard):
    """The conversation in the model's own template; ``response`` reads the answer behind its request."""

    name: ClassVar[str] = "llama_guard"
    version: ClassVar[int] = 1
    model: str = "meta-llama/Llama-Guard-3-8B"
    content: Literal["text", "parts"] | None = None
    """How a turn is given to the template: as text (3), or as a list of parts (4); null: by the model's name."""

    @override
    def read(self, items: Sequence[Screened], side: Side, reader: Reads) -> list[Verdict]:
        asked = [self.turns(item, side) for item in items]
        scores = reader.token_scores(asked, tokens=("safe", "unsafe"))
        said = reader.generate(asked, max_new_tokens=NEW_TOKENS)
        return [self.verdict(*one) for one in zip((i.id for i in items), said, scores, strict=True)]

    def turns(self, item: Screened, side: Side) -> list[dict[str, Any]]:
        """The conversation whose last turn is assessed."""
        turns = [("user", item.prompt)]
        if side == "response":
            turns.append(("assistant", item.response or ""))
        in_parts = self.by_name()["content"] == "parts"
        return [{"role": r, "content": [{"type": "text", "text": t}] if in_parts else t} for r, t in turns]

    @override
    def by_name(self) -> dict[str, Any]:
        return {"content": self.content or ("parts" if "guard-4" in self.model.lower() else "text")}

    def verdict(self, item_id: str, said: str | None, scores: dict[str, float] | None) -> Verdict:
        """What the model's words and first token mean."""
        if said is None or scores is None:
            return Verdict(id=item_id, flagged=None, reason=TOO_LONG)
        found = WORD.match(said)
        if found is None:
            return Verdict(id=item_id, flagged=None, reason="no 'safe' or 'unsafe' in its answer")
        unsafe = found[1].lower() == "unsafe"
        native = tuple(dict.fromkeys(CODE.findall(found["codes"] or ""))) if unsafe else ()
        ours = tuple(dict.fromkeys(h for code in native if (h := LLAMA_GUARD_HAZARDS[code])))
        both = scores["safe"] + scores["unsafe"]
        score = scores["unsafe"] / both if both >= MOST else None
        if self.threshold is not None:
            if score is None:
                return Verdict(
                    id=item_id, flagged=None, reason="its first token has no score to hold a threshold against"
                )
            unsafe = score >= self.threshold
        return Verdict(id=item_id, flagged=unsafe, score=score, categories=ours, native=native)
