"""The Inspect provider ``mtb/<model>``: a local model, batched, answering from a store where there is one.

``mtb`` fills the store with fixed batches first, so its runs never generate here; ``inspect eval``
without a store gathers the waiting requests into batches.
"""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

from inspect_ai.model import (
    ChatCompletionChoice,
    ChatMessage,
    ChatMessageAssistant,
    GenerateConfig,
    ModelAPI,
    ModelOutput,
    ModelUsage,
)
from inspect_ai.tool import ToolChoice, ToolInfo
from typing_extensions import override

from multitask_bench.errors import ModelError
from multitask_bench.models.chat import TemplateName, encode, render
from multitask_bench.models.engine.local import Answer, LocalModel, load_tokenizer
from multitask_bench.models.engine.store import AnswerStore, question_key
from multitask_bench.models.load import open_local
from multitask_bench.schema import Message

LINGER_S = 0.02
"""How long a first request waits for company; 20 ms gathered full batches (API-NOTES section 1)."""


class _Job:
    """A request that waits for its batch."""

    def __init__(self, tokens: list[int], limit: int, temperature: float, key: str) -> None:
        self.tokens, self.limit, self.key = tokens, limit, key
        self.kind = (limit, temperature)
        self.answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()


class Local(ModelAPI):
    """A model folder, a PEFT folder, a GGUF file or ``demo``, by ``mtb/<that>``."""

    def __init__(
        self,
        model_name: str,
        base_url: str | None = None,
        api_key: str | None = None,
        config: GenerateConfig = GenerateConfig(),  # noqa: B008  the base class's own signature
        **model_args: Any,
    ) -> None:
        """Settings in ``model_args``: folder, adapter, store, template, dtype, batch_size."""
        super().__init__(model_name, base_url, api_key, [], config)
        known = {"folder", "adapter", "store", "template", "dtype", "batch_size"}
        if unknown := set(model_args) - known:
            raise ModelError(
                f"mtb/{model_name}: no setting {', '.join(sorted(unknown))}; it has {', '.join(sorted(known))}."
            )
        resolved = open_local(model_args.get("folder") or model_name, adapter=model_args.get("adapter"))
        self.folder, self.adapter = resolved.folder, resolved.adapter
        self.template: TemplateName = model_args.get("template", "native")
        self.dtype = str(model_args.get("dtype", "float32"))
        self.batch_size = int(model_args.get("batch_size", 32))
        store = model_args.get("store")
        self.answers = AnswerStore(Path(store)).read() if store else {}
        self.tokenizer = load_tokenizer(self.folder)
        self.queue: list[_Job] = []
        self.pump: asyncio.Task[None] | None = None
        self._model: LocalModel | None = None
        self._lock = threading.Lock()

    @override
    def max_connections(self) -> int:
        return self.batch_size * 2

    @override
    def connection_key(self) -> str:
        return f"mtb:{self.folder}"

    @override
    async def count_text_tokens(self, text: str) -> int:
        return len(encode(self.tokenizer, text))

    @override
    async def generate(
        self,
        input: list[ChatMessage],
        tools: list[ToolInfo],
        tool_choice: ToolChoice,
        config: GenerateConfig,
    ) -> ModelOutput:
        turns = [Message.model_validate({"role": m.role, "content": m.text}) for m in input]
        text = render(self.tokenizer, turns, template=self.template)
        tokens = encode(self.tokenizer, text)
        limit, temperature = config.max_tokens or 48, config.temperature or 0.0
        key = question_key(text, max_new_tokens=limit, temperature=temperature)
        stored = self.answers.get(key)
        if stored is not None:
            answer = Answer(stored.text, stored.tokens, stored.truncated)
        else:
            answer = await self._submit(_Job(tokens, limit, temperature, key))
        return ModelOutput(
            model=self.model_name,
            choices=[
                ChatCompletionChoice(
                    message=ChatMessageAssistant(content=answer.text, model=self.model_name, source="generate"),
                    stop_reason="max_tokens" if answer.truncated else "stop",
                )
            ],
            usage=ModelUsage(
                input_tokens=len(tokens), output_tokens=answer.tokens, total_tokens=len(tokens) + answer.tokens
            ),
        )

    async def _submit(self, job: _Job) -> Answer:
        self.queue.append(job)
        if self.pump is None or self.pump.done():
            self.pump = asyncio.create_task(self._run())
        return await job.answer

    async def _run(self) -> None:
        while self.queue:
            await asyncio.sleep(LINGER_S)
            self.queue.sort(key=lambda job: (*job.kind, len(job.tokens)))
            kind = self.queue[0].kind
            batch = [job for job in self.queue if job.kind == kind][: self.batch_size]
            self.queue = [job for job in self.queue if job not in batch]
            await self._answer(batch)

    async def _answer(self, batch: list[_Job]) -> None:
        model = await asyncio.to_thread(self._load)
        fitting = []
        for job in batch:
            # One prompt that is too long must not take its neighbours with it.
            try:
                model.check_length(len(job.tokens), max_new_tokens=job.limit)
                fitting.append(job)
            except ModelError as err:
                job.answer.set_exception(err)
        if not fitting:
            return
        limit, temperature = fitting[0].kind
        # Batches here depend on timing, so that drawn answers do not repeat: the store of a study does.
        seed = fitting[0].key
        try:
            answers = await asyncio.to_thread(
                model.answer,
                [job.tokens for job in fitting],
                max_new_tokens=limit,
                temperature=temperature,
                seed=seed,
            )
        except Exception as err:  # noqa: BLE001  every waiting request must hear of it
            for job in fitting:
                job.answer.set_exception(err)
            return
        for job, answer in zip(fitting, answers, strict=True):
            job.answer.set_result(answer)

    def _load(self) -> LocalModel:
        with self._lock:
            if self._model is None:
                self._model = LocalModel(self.folder, adapter=self.adapter, dtype=self.dtype)
            return self._model
