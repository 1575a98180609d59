"""Judges that need a model: which one, where it may run, and how its verdicts are got.

A grading model is asked through Inspect, a classifier is loaded on this machine. Both read whole lists of answers;
a judge by rules is the same to its caller.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from multitask_bench.errors import ConfigError, MissingExtraError, ModelError
from multitask_bench.judges import JudgeSpec, judges
from multitask_bench.judges._classifier import Ask, ClassifierJudge
from multitask_bench.judges._classifier import Reply as Read
from multitask_bench.judges._verdict import Question
from multitask_bench.judges.rubric import Reply, RubricJudge, without_asking
from multitask_bench.models.load import hub_id, open_local
from multitask_bench.schema import Judgment, Response
from multitask_bench.study.rejudge import Verb
from multitask_bench.study.remote import check_allowed
from multitask_bench.study.weights import digest_of

MAX_TOKENS = 512
"""A sentence and a verdict; a model that reasons first needs room for it."""

TELL_EVERY_S = 20.0
"""Between two lines on how far a classifier has come."""

Tell = Callable[[str], None]
"""Takes a line for the user."""


def made(name: str, settings: dict[str, Any] | None = None, *, download: bool = True) -> JudgeSpec:
    """The judge ``name`` with ``settings``, its model found and named by its weights or its commit.

    Without ``download`` a hub model is not looked for and stays named as it was given.
    Raises: UnknownNameError, ConfigError: no such judge or setting, or no model where one is needed; ModelError: no
    such model.
    """
    spec = judges.make(name, settings)
    if isinstance(spec, RubricJudge) and spec.model is None:
        raise ConfigError(f"the judge '{name}' asks a model: name one with --model, or judge_settings in a study.")
    if not isinstance(spec, ClassifierJudge):
        return spec
    wanted = hub_id(spec.model)
    if wanted is not None and not download:
        return spec
    found = open_local(spec.model, base=spec.base)
    if wanted is None:
        return spec.model_copy(update={"weights": digest_of(found)})
    base = None if spec.base is None else _pinned(spec.base, found.folder)
    return spec.model_copy(update={"model": _pinned(spec.model, found.adapter or found.folder), "base": base})


def _pinned(name: str, folder: Path) -> str:
    """A hub id with the commit that was found for it; any other name as it is."""
    wanted = hub_id(name)
    return name if wanted is None else f"{wanted.id}@{folder.name}"


def asks_model(spec: JudgeSpec) -> bool:
    """Whether verdicts cost a model's time: such a judge reads whole logs at once."""
    return isinstance(spec, RubricJudge | ClassifierJudge)


def check_sent(spec: JudgeSpec, *, answers: int, allowed: tuple[str, ...]) -> None:
    """Raises: RemoteError: ``answers`` would go to a grading model elsewhere that the user did not allow."""
    if isinstance(spec, RubricJudge) and spec.model is not None:
        check_allowed(spec.model, sent=f"{answers} requests with their answers", allowed=allowed)


def verb_of(spec: JudgeSpec, *, tell: Tell) -> Verb:
    """How ``spec`` judges; a model is opened at the first call and stays open for the next."""
    if isinstance(spec, RubricJudge):
        return lambda responses: _graded_where_it_answers(spec, responses, tell)
    if isinstance(spec, ClassifierJudge):
        return _Classified(spec, tell)
    return spec.judge


class _Classified:
    """The verb of a classifier."""

    def __init__(self, spec: ClassifierJudge, tell: Tell) -> None:
        self.spec, self.tell = spec, tell
        self._reader: Any = None
        self._told = time.monotonic()

    def __call__(self, responses: Sequence[Response]) -> list[Judgment]:
        return self.spec.judge_with(responses, self._read)

    def _read(self, asks: Sequence[Ask]) -> list[Read]:
        if not asks:
            return []
        reader = self._opened()
        sent = [self._prompt(ask) for ask in asks]
        prompts, cut = [prompt for prompt, _ in sent], [was_cut for _, was_cut in sent]
        if self.spec.scored:
            scores = reader.token_scores(prompts, tokens=self.spec.scored)
            return [Read(scores=found, cut=c) for found, c in zip(scores, cut, strict=True)]
        texts = reader.generate(prompts, max_new_tokens=self.spec.max_new_tokens)
        return [Read(text=found, cut=c) for found, c in zip(texts, cut, strict=True)]

    def _prompt(self, ask: Ask) -> tuple[Any, bool]:
        """What the model is sent, and whether something in it was cut. Data opens and closes no turn."""
        reader = self._opened()
        if ask.turns:
            return list(ask.turns), False  # the reader takes control tokens in turns apart
        whole = {name: reader.plain(text, self.spec.marks) for name, text in ask.values.items()}
        values = {
            name: reader.cut(text, tokens=ask.cut[name]) if name in ask.cut else text for name, text in whole.items()
        }
        return ask.text.format(**values), values != whole

    def _opened(self) -> Any:
        if self._reader is None:
            try:
                from multitask_bench.models.engine.reader import Reader
            except ImportError as err:
                raise MissingExtraError.of(f"the judge '{self.spec.name}'", "local") from err
            self._reader = Reader(self.spec.model, base=self.spec.base, batch_size=self.spec.batch_size)
            self._reader.progress = self._progress
        return self._reader

    def _progress(self, done: int, total: int) -> None:
        if time.monotonic() - self._told >= TELL_EVERY_S and done < total:
            self._told = time.monotonic()
            self.tell(f"{self.spec.name}: {done} of {total} answers read")


def _graded_where_it_answers(spec: RubricJudge, responses: Sequence[Response], tell: Tell) -> list[Judgment | None]:
    """The judgments of a grading model; None where its call failed, so that it can be asked again."""
    assert spec.model is not None, "made() sees to it"
    model = spec.model
    open_ = [response.id for response in responses if without_asking(response) is None]
    failed: set[str] = set()

    def asks(questions: Sequence[Question]) -> list[Reply]:
        replies = ask_model(model, questions, tell)
        failed.update(i for i, reply in zip(open_, replies, strict=True) if reply.text is None and not reply.declined)
        return replies

    return [None if verdict.id in failed else verdict for verdict in spec.judge_with(responses, asks)]


def ask_model(model: str, questions: Sequence[Question], tell: Tell) -> list[Reply]:
    """The replies of an Inspect model; a call that failed gives None, and the others go on.

    Raises: ModelError: Inspect cannot open the model.
    """
    if not questions:
        return []
    from inspect_ai.model import get_model

    try:
        api = get_model(model)
    except Exception as err:  # Inspect raises whatever the provider's package does
        raise ModelError(f"{model}: {' '.join(str(err).split())[:300]}") from err

    async def one(question: Question) -> Reply:
        try:
            return await graded(api, question)
        except Exception as err:  # noqa: BLE001  a failed call leaves its row without a verdict
            tell(f"no verdict from {model}: {type(err).__name__}")
            return Reply(None)

    async def all_of_them() -> list[Reply]:
        return list(await asyncio.gather(*map(one, questions)))

    return asyncio.run(all_of_them())


async def graded(model: Any, question: Question) -> Reply:
    """What an Inspect model replies to one question, at temperature 0; whatever its provider raises comes through."""
    from inspect_ai.model import ChatMessage, ChatMessageSystem, ChatMessageUser, GenerateConfig

    asked: list[ChatMessage] = [ChatMessageSystem(content=question.system), ChatMessageUser(content=question.user)]
    output = await model.generate(asked, config=GenerateConfig(temperature=0.0, max_tokens=MAX_TOKENS))
    return Reply(output.completion, bool(output.choices) and output.stop_reason == "content_filter")
