"""A model that reads text and gives a verdict: the one place where judges' and guards' weights are loaded and asked.

Rows are sorted by length and batched; answers come back in the order asked. A row that does not fit into the
model's context is never cut: its verdict is None. float32 on a CPU, bfloat16 on a GPU, unless said otherwise.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

import torch
from jinja2 import TemplateError
from transformers import AutoModelForSequenceClassification

from multitask_bench.errors import ModelError
from multitask_bench.models.chat import DATE, encode
from multitask_bench.models.engine.local import LocalModel, _left_padded, load_tokenizer
from multitask_bench.models.load import Local, hub_id, open_local
from multitask_bench.models.quiet import quiet

Kind = Literal["causal", "classification"]
Turns = list[dict[str, Any]]
Prompt = str | Turns
"""A text as it is sent, or a conversation that the model's own chat template turns into one."""

CLASSIFIER = "ForSequenceClassification"
"""How the names of architectures with a classification head end."""
SNAPSHOTS = "snapshots"
"""The folder of the hub's cache whose folders are named after commits."""

T = TypeVar("T")


class Reader:
    """A model in memory that is asked for verdicts.

    ``name`` is a folder, a PEFT folder, a hub id with or without ``@revision``, a GGUF file or ``demo``.
    Raises: ModelError: no such model, the hub cannot be reached, a licence to be accepted, pickled weights, or a
    model of the other kind.
    """

    def __init__(  # noqa: PLR0913  settings of one thing
        self,
        name: str,
        *,
        revision: str | None = None,
        kind: Kind = "causal",
        base: str | None = None,
        dtype: str | None = None,
        batch_size: int = 16,
        max_length: int | None = None,
    ) -> None:
        """``base`` is the model of a PEFT folder; ``max_length`` is the model's context unless less."""
        found = resolve(name, revision=revision, base=base)
        self.name, self.folder, self.adapter, self.kind = name, found.folder, found.adapter, kind
        self.commit = commit_of(found.adapter or found.folder)
        """The commit of a hub model; None for a folder of the user's."""
        self.batch_size = batch_size
        self.progress: Callable[[int, int], None] | None = None
        """Told after each batch how many rows of how many are read."""
        dtype = dtype or ("bfloat16" if torch.cuda.is_available() else "float32")
        _check_kind(name, found.folder, kind)
        self._model: Any
        if kind == "causal":
            self._model = LocalModel(found.folder, adapter=found.adapter, dtype=dtype)
            self.tokenizer: Any = self._model.tokenizer
            context = _context(self._model.model.config)
        else:
            self._model = _classifier(name, found.folder, dtype)
            with quiet():
                self.tokenizer = load_tokenizer(found.folder)
            # RoBERTa counts two positions more than it can read; its tokenizer knows.
            context = min(_context(self._model.config), self.tokenizer.model_max_length)
            if self._model.config.get_text_config().pad_token_id is None:
                self.batch_size = 1  # a decoder with a head finds its last token by the padding behind it
        self.max_length = min(max_length or context, context)
        """Tokens of the longest prompt that is read, together with what is to be generated."""

    def generate(self, prompts: Sequence[Prompt], *, max_new_tokens: int) -> list[str | None]:
        """What the model writes after each prompt, greedy; None for a prompt that is too long."""
        model = self._asked_as("causal", "generate")

        def ask(batch: Sequence[list[int]]) -> list[str]:
            return [answer.text for answer in model.answer(batch, max_new_tokens=max_new_tokens)]

        return self._batched([self.tokens(p) for p in prompts], ask, longest=self.max_length - max_new_tokens)

    def token_scores(self, prompts: Sequence[Prompt], *, tokens: Sequence[str]) -> list[dict[str, float] | None]:
        """The probability of each of ``tokens`` as the first one generated, over the whole vocabulary; None: too long.

        Raises: ModelError: a text that is more than one token of this model.
        """
        model = self._asked_as("causal", "token_scores")
        ids = {text: self._one_token(text) for text in tokens}

        def ask(batch: Sequence[list[int]]) -> list[dict[str, float]]:
            rows, mask = _left_padded(batch, pad=min(model.stops), device=model.device)
            position = (mask.cumsum(-1) - 1).clamp(min=0)
            with torch.inference_mode():
                found = model.model(input_ids=rows, attention_mask=mask, position_ids=position, logits_to_keep=1)
            shares = torch.softmax(found.logits[:, -1].float(), dim=-1)
            return [{text: float(row[i]) for text, i in ids.items()} for row in shares.cpu()]

        return self._batched([self.tokens(p) for p in prompts], ask, longest=self.max_length - 1)

    def class_scores(self, texts: Sequence[str]) -> list[dict[str, float] | None]:
        """The probability of each class by its name; None for a text that is too long.

        Classes that exclude one another add up to 1; those of a model with several at once are each in [0, 1].
        """
        model = self._asked_as("classification", "class_scores")
        names = {int(i): str(name) for i, name in model.config.id2label.items()}
        several = model.config.problem_type == "multi_label_classification"

        def ask(batch: Sequence[list[int]]) -> list[dict[str, float]]:
            rows, mask = _right_padded(batch, pad=model.config.pad_token_id or 0, device=model.device)
            with torch.inference_mode():
                logits = model(input_ids=rows, attention_mask=mask).logits.float()
            shares = torch.sigmoid(logits) if several else torch.softmax(logits, dim=-1)
            return [{names[i]: share for i, share in enumerate(row)} for row in shares.cpu().tolist()]

        return self._batched([self.tokenizer(text).input_ids for text in texts], ask, longest=self.max_length)

    def tokens(self, prompt: Prompt) -> list[int]:
        """The tokens of a prompt, with exactly one BOS where the model wants one.

        What stands in the turns of a conversation is data: a control token that it spells out stays plain text.
        """
        if isinstance(prompt, str):
            return encode(self.tokenizer, prompt)
        if not getattr(self.tokenizer, "chat_template", None):
            raise ModelError(f"{self.name}: its tokenizer has no chat template, and it is asked with a conversation.")
        turns = [{**turn, "content": self._plain(turn["content"])} for turn in prompt]
        try:
            text = self.tokenizer.apply_chat_template(
                turns, tokenize=False, add_generation_prompt=True, date_string=DATE
            )
        except TemplateError as err:
            raise ModelError(f"{self.name}: its chat template refuses a conversation: {err}") from err
        return encode(self.tokenizer, str(text))

    def plain(self, text: str, marks: Sequence[str] = ()) -> str:
        """``text`` with the model's control tokens, and ``marks``, taken apart, so that data ends no turn."""
        own = [str(token) for token in self.tokenizer.added_tokens_decoder.values() if token.special]
        return taken_apart(text, [*own, *marks])

    def cut(self, text: str, *, tokens: int) -> str:
        """The first ``tokens`` tokens of ``text``, or all of it where it has no more."""
        ids = self.tokenizer(text, add_special_tokens=False).input_ids
        return text if len(ids) <= tokens else str(self.tokenizer.decode(ids[:tokens]))

    def _plain(self, content: Any) -> Any:
        """The content of a turn: a text, or parts of which some are text."""
        if isinstance(content, str):
            return self.plain(content)
        return [{**part, "text": self.plain(part["text"])} if "text" in part else part for part in content]

    def _asked_as(self, kind: Kind, verb: str) -> Any:
        if self.kind != kind:
            raise ModelError(f"{self.name} was opened as {self.kind}: '{verb}' needs a {kind} model.")
        return self._model

    def _one_token(self, text: str) -> int:
        ids = self.tokenizer(text, add_special_tokens=False).input_ids
        if len(ids) == 2 and self.tokenizer.decode(ids[:1]).strip() == "":
            # Sentencepiece puts a space before a text; behind a prompt the token stands alone.
            ids = ids[1:]
        if len(ids) != 1:
            raise ModelError(f"{self.name}: '{text}' is {len(ids)} tokens; only the first generated one is scored.")
        return int(ids[0])

    def _batched(
        self, rows: Sequence[list[int]], ask: Callable[[Sequence[list[int]]], Sequence[T]], *, longest: int
    ) -> list[T | None]:
        out: list[T | None] = [None] * len(rows)
        batches, done = list(_batches(rows, self.batch_size, longest)), 0
        for batch in batches:
            for i, found in zip(batch, ask([rows[i] for i in batch]), strict=True):
                out[i] = found
            done += len(batch)
            if self.progress is not None:
                self.progress(done, sum(map(len, batches)))
        return out


def resolve(name: str, *, revision: str | None = None, base: str | None = None) -> Local:
    """The folder of a reader, downloaded when the hub has it and the cache does not.

    Raises: ModelError: as of `Reader`; a revision of what is no hub id.
    """
    if revision is not None:
        wanted = hub_id(name)
        if wanted is None:
            raise ModelError(f"{name}: a revision goes with a hub id, org/name.")
        name = f"{wanted.id}@{revision}"
    return open_local(name, base=base)


def commit_of(folder: Path) -> str | None:
    """The commit that a folder of the hub's cache holds; None for any other folder."""
    return folder.name if folder.parent.name == SNAPSHOTS else None


def taken_apart(text: str, marks: Sequence[str]) -> str:
    """``text`` with a space behind the first character of each of ``marks`` in it."""
    for mark in sorted({m for m in marks if len(m) > 1 and not m.isspace()}, key=len, reverse=True):
        text = text.replace(mark, f"{mark[0]} {mark[1:]}")
    return text


def _batches(rows: Sequence[list[int]], size: int, longest: int) -> Iterator[list[int]]:
    """The places of rows that are at most ``longest``, those of like length together, the longest first."""
    # The longest first: a batch that does not fit into memory shows at once.
    order = sorted((i for i, row in enumerate(rows) if 0 < len(row) <= longest), key=lambda i: (-len(rows[i]), i))
    for start in range(0, len(order), size):
        yield order[start : start + size]


def _check_kind(name: str, folder: Path, kind: Kind) -> None:
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    kinds: Sequence[str] = config.get("architectures") or []
    has_head = any(found.endswith(CLASSIFIER) for found in kinds)
    # transformers would go on with a head of random numbers.
    if has_head != (kind == "classification"):
        raise ModelError(f"{name}: its architecture is {', '.join(kinds) or 'not named'}; no {kind} model.")


def _classifier(name: str, folder: Path, dtype: str) -> Any:
    with quiet():
        model, info = AutoModelForSequenceClassification.from_pretrained(
            folder, dtype=getattr(torch, dtype), output_loading_info=True
        )
    if info["missing_keys"]:
        raise ModelError(f"{name}: {len(info['missing_keys'])} weights of its classifier are not in the file.")
    return model.to("cuda" if torch.cuda.is_available() else "cpu").eval()


def _right_padded(rows: Sequence[list[int]], *, pad: int, device: Any) -> tuple[torch.Tensor, torch.Tensor]:
    width = max(map(len, rows))
    ids = torch.tensor([[*row, *[pad] * (width - len(row))] for row in rows], device=device)
    mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows], device=device)
    return ids, mask


def _context(config: Any) -> int:
    """Tokens that a model can read; where it does not say, no more than 512."""
    settings: Mapping[str, Any] = config.get_text_config().to_dict()
    return int(settings.get("max_position_embeddings") or 512)
