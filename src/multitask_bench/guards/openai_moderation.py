"""The OpenAI moderation endpoint, or any server that speaks its protocol.

https://developers.openai.com/docs/guides/moderation: ``POST /moderations`` with a list of texts; each result says
``flagged`` and has a score a category. The requests are made by the study layer (`study/guarding.py`), which asks for
leave before anything leaves the machine. ``omni-moderation-latest`` moves; give a dated model to pin it. Not measured
here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Any, ClassVar

from pydantic import Field
from typing_extensions import override

from multitask_bench.errors import ConfigError
from multitask_bench.guards._spec import GuardSpec, Screened, Side, Verdict, guards, mapped, on_sides

HAZARDS = {
    "harassment": "hate",
    "harassment/threatening": "violent_crimes",
    "hate": "hate",
    "hate/threatening": "hate",
    "illicit": "non_violent_crimes",
    "illicit/violent": "violent_crimes",
    "self-harm": "suicide_self_harm",
    "self-harm/intent": "suicide_self_harm",
    "self-harm/instructions": "suicide_self_harm",
    "sexual": "sexual_content",
    "sexual/minors": "sex_related_crimes",
    "violence": "violent_crimes",
    "violence/graphic": "violent_crimes",
}

Posts = Callable[[dict[str, Any]], Any]
"""Sends one body and gives the answer's JSON, or a text that says why there is none."""


@guards.add
class OpenAIModeration(GuardSpec):
    """``response`` sends the answer alone: the endpoint knows no conversation."""

    name: ClassVar[str] = "openai_moderation"
    version: ClassVar[int] = 1
    model: str = "omni-moderation-latest"
    base_url: str = "https://api.openai.com/v1"
    key_variable: str = "OPENAI_API_KEY"
    """Environment variable that holds the key; a server on this machine may need none."""
    batch_size: Annotated[int, Field(gt=0)] = 32
    """Texts in one request."""

    @override
    def screen(self, items: Sequence[Screened]) -> list[Verdict]:
        raise ConfigError(f"the guard '{self.name}' calls a server: mtb guard FILE --guard {self.name} --out FILE.")

    def screen_with(self, items: Sequence[Screened], posts: Posts) -> list[Verdict]:
        """One verdict an item, in order; a request that failed leaves its items without one."""
        return on_sides(self.on, items, lambda some, side: self._read(some, side, posts))

    def _read(self, items: Sequence[Screened], side: Side, posts: Posts) -> list[Verdict]:
        out: list[Verdict] = []
        for start in range(0, len(items), self.batch_size):
            batch = items[start : start + self.batch_size]
            texts = [item.prompt if side == "prompt" else item.response or "" for item in batch]
            answer = posts({"model": self.model, "input": texts})
            out += self.verdicts(batch, answer)
        return out

    def verdicts(self, items: Sequence[Screened], answer: Any) -> list[Verdict]:
        """The verdicts in one answer; one that cannot be read gives none to all of its items."""
        if isinstance(answer, str):
            return [Verdict(id=item.id, flagged=None, reason=answer, failed=True) for item in items]
        results = answer.get("results") if isinstance(answer, dict) else None
        if not isinstance(results, list) or len(results) != len(items):
            return [
                Verdict(id=item.id, flagged=None, reason="the server's answer has not one result a text")
                for item in items
            ]
        return [self._verdict(item.id, result) for item, result in zip(items, results, strict=True)]

    def _verdict(self, item_id: str, result: Any) -> Verdict:
        try:
            scores = {str(name): float(value) for name, value in result["category_scores"].items()}
            flagged = result["flagged"]
            native = tuple(name for name, stopped in result["categories"].items() if stopped)
            score = max(scores.values())
        except (KeyError, TypeError, ValueError, AttributeError):
            return Verdict(id=item_id, flagged=None, reason="the server's answer could not be read")
        if not isinstance(flagged, bool) or not 0 <= score <= 1:
            return Verdict(id=item_id, flagged=None, reason="the server's answer could not be read")
        if self.threshold is not None:
            flagged = score >= self.threshold
            native = tuple(name for name, value in scores.items() if value >= self.threshold)
        return Verdict(id=item_id, flagged=flagged, score=score, categories=mapped(native, HAZARDS), native=native)
