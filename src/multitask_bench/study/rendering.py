"""A training row as the model will see it: tokens, the masked part, and what is wrong with them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from multitask_bench.data.chat_formats import TrainRow
from multitask_bench.data.preflight import Measure
from multitask_bench.errors import MissingExtraError, ModelError
from multitask_bench.models.chat import IGNORED, Encoded, TemplateName, encode_row, stop_ids, system_text
from multitask_bench.models.load import Local, open_model
from multitask_bench.schema import Conversation, Message


class Rendered(NamedTuple):
    """A row's text in two parts, and its length in tokens."""

    masked: str
    """What the loss skips: everything before the answer."""
    learnt: str
    """What the loss falls on: the answer and its end token."""
    tokens: int


class Renderer:
    """Renders rows with one model's tokenizer and one prompt policy."""

    def __init__(self, model: str, *, template: TemplateName, system: str, max_length: int) -> None:
        found = open_model(model)
        if not isinstance(found, Local):
            raise ModelError(f"{model}: rendering needs the tokenizer of a local model.")
        try:
            from multitask_bench.models.engine.local import load_tokenizer
        except ImportError as err:
            raise MissingExtraError.of("rendering with a model", "local") from err
        self.tokenizer: Any = load_tokenizer(found.folder)
        self.template, self.system, self.max_length = template, system_text(system), max_length
        self._ends = stop_ids(self.tokenizer)

    def encode(self, row: TrainRow) -> Encoded:
        """The row's tokens and labels.

        Raises: ModelError: the template cannot render it.
        """
        turns = tuple(Message.model_validate(turn._asdict()) for turn in row.turns)
        return encode_row(
            self.tokenizer, Conversation(id="row", messages=turns), template=self.template, system=self.system
        )

    def rendered(self, row: TrainRow) -> Rendered:
        """The row as text, cut at the point where the loss begins."""
        ids, labels = self.encode(row)
        cut = sum(label == IGNORED for label in labels)
        decode = self.tokenizer.decode
        return Rendered(decode(ids[:cut]), decode(ids[cut:]), len(ids))

    def measure(self) -> Measure:
        """A row -> its tokens, and the codes of what is wrong with its rendering."""

        def measured(row: TrainRow) -> tuple[int, Sequence[str]]:
            try:
                ids, labels = self.encode(row)
            except ModelError as err:
                return 0, ["template_missing" if "no chat template" in str(err) else "template_changes_prompt"]
            codes = []
            if len(ids) > self.max_length:
                codes.append("too_long")
            if labels[-1] not in self._ends:
                codes.append("no_end_token")
            bos = self.tokenizer.bos_token_id
            if bos is not None and ids[:2] == [bos, bos]:
                codes.append("double_bos")
            return len(ids), codes

        return measured
