"""Prompt Guard 1 and 2: a classifier of jailbreaks and injections, not of harmful content.

Model cards in meta-llama/PurpleLlama (Prompt-Guard, Llama-Prompt-Guard-2). The score is that of ``JAILBREAK`` in the
first version and of the last class in the second, whose makers read it so (PurpleLlama, LlamaFirewall,
``promptguard_utils.get_jailbreak_score``; its configuration does not name the classes). It reads 512 tokens; longer
texts get no verdict, for a cut one could hide what it looks for. Weights are gated. Not measured here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

from typing_extensions import override

from multitask_bench.guards._spec import TOO_LONG, ReaderGuard, Reads, Screened, Side, Verdict, guards

NAMED = ("JAILBREAK", "MALICIOUS")


@guards.add
class PromptGuard(ReaderGuard):
    """A sequence classifier; ``response`` reads the answer alone."""

    name: ClassVar[str] = "prompt_guard"
    version: ClassVar[int] = 1
    kind: ClassVar[Literal["causal", "classification"]] = "classification"
    model: str = "meta-llama/Llama-Prompt-Guard-2-86M"
    max_length: int | None = 512

    @override
    def read(self, items: Sequence[Screened], side: Side, reader: Reads) -> list[Verdict]:
        texts = [item.prompt if side == "prompt" else item.response or "" for item in items]
        return [self.verdict(item.id, scores) for item, scores in zip(items, reader.class_scores(texts), strict=True)]

    def verdict(self, item_id: str, scores: dict[str, float] | None) -> Verdict:
        """The verdict of the class probabilities."""
        if scores is None:
            return Verdict(id=item_id, flagged=None, reason=TOO_LONG)
        named = next((name for name in NAMED if name in scores), None)
        return self.decided(item_id, min(1.0, scores[named] if named else list(scores.values())[-1]))
