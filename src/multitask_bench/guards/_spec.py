"""What every guard has: settings, a verb, and a hash that names its configuration."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal, Protocol

from pydantic import Field, model_validator
from typing_extensions import override

from multitask_bench.errors import ConfigError
from multitask_bench.models.published import GUARD_COMMITS
from multitask_bench.records import digest
from multitask_bench.registry import Registry, Spec
from multitask_bench.schema import StrictModel

Side = Literal["prompt", "response", "both"]
"""What a guard reads: the request, the answer to it, or first the one and then the other."""
Turn = dict[str, Any]


class Screened(StrictModel):
    """A request, with its answer where there is one."""

    id: str
    prompt: str
    response: str | None = None


class Verdict(StrictModel):
    """A guard's word on one item; a guard that could not answer says why, and has let nothing pass."""

    id: str
    flagged: bool | None
    score: Annotated[float, Field(ge=0, le=1)] | None = None
    """How sure the guard is that it must be stopped; None where it only has a yes or no."""
    categories: tuple[str, ...] = ()
    """Hazard categories of this project."""
    native: tuple[str, ...] = ()
    """Categories under the guard's own names."""
    reason: str = ""
    failed: bool = False
    """Whether a server or model gave no answer at all, so that asking again may help."""

    @model_validator(mode="after")
    def _silence_has_a_reason(self) -> Verdict:
        if self.flagged is None and not self.reason:
            raise ValueError(f"{self.id}: a guard that does not answer must say why")
        return self


class GuardSpec(Spec):
    """Decides which requests or answers are to be stopped."""

    version: ClassVar[int]
    """Raised whenever the same settings can give another verdict."""
    sides: ClassVar[tuple[Side, ...]] = ("prompt", "response", "both")
    """What it can read."""
    on: Side = "prompt"
    """What it reads: prompt, response or both."""
    threshold: Annotated[float, Field(ge=0, le=1)] | None = None
    """Score from which an item is stopped; null: the guard's own."""

    @model_validator(mode="after")
    def _can_read_it(self) -> GuardSpec:
        if self.on not in self.sides:
            raise ValueError(f"it reads {' or '.join(self.sides)} only")
        return self

    def screen(self, items: Sequence[Screened]) -> list[Verdict]:
        """One verdict an item, in order, whatever the text is."""
        raise NotImplementedError

    @property
    def config_hash(self) -> str:
        """Sixteen hex digits that change with the guard's code version or settings."""
        return digest({"guard": self.name, "version": self.version, "settings": self.model_dump()})[:16]

    def decided(self, item_id: str, score: float, **more: Any) -> Verdict:
        """The verdict of a score; half is the threshold where none is set."""
        limit = 0.5 if self.threshold is None else self.threshold
        return Verdict(id=item_id, flagged=score >= limit, score=score, **more)


class Reads(Protocol):
    """A model in memory, such as `models.engine.reader.Reader`; None for a row that is too long for it."""

    def generate(self, prompts: Sequence[Any], *, max_new_tokens: int) -> list[str | None]:
        """What the model writes after each prompt."""

    def token_scores(self, prompts: Sequence[Any], *, tokens: Sequence[str]) -> list[dict[str, float] | None]:
        """The probability of each of ``tokens`` as the first one generated."""

    def class_scores(self, texts: Sequence[str]) -> list[dict[str, float] | None]:
        """The probability of each class by its name, in the order of the model."""

    def plain(self, text: str) -> str:
        """``text`` in which the model's control tokens are plain text."""


class ReaderGuard(GuardSpec):
    """A guard that is a model of its own; the weights are opened by the study layer."""

    kind: ClassVar[Literal["causal", "classification"]] = "causal"
    model: str
    """A folder, or a hub id."""
    revision: str | None = None
    """Commit of the hub id; null: the one pinned here, where there is one."""
    batch_size: Annotated[int, Field(gt=0)] = 16
    max_length: Annotated[int, Field(gt=0)] | None = None
    """Tokens of the longest text that is read; null: as many as the model can."""
    weights: str | None = None
    """The hash of the weights of a folder: it names them on every machine. Filled in when the model is found."""

    @override
    def screen(self, items: Sequence[Screened]) -> list[Verdict]:
        raise ConfigError(f"the guard '{self.name}' needs its model: mtb guard FILE --guard {self.name} --out FILE.")

    def screen_with(self, items: Sequence[Screened], reader: Reads) -> list[Verdict]:
        """One verdict an item, in order, read by ``reader``."""
        return on_sides(self.on, items, lambda some, side: self.read(some, side, reader))

    @property
    def commit(self) -> str | None:
        """The commit that is opened; None where only the hub's newest is known, and for a folder."""
        return self.revision or GUARD_COMMITS.get(self.model)

    @property
    @override
    def config_hash(self) -> str:
        """The commit counts, or what a folder holds; how many texts are read at a time does not."""
        left_out = {"batch_size", "weights"} | ({"model", "revision"} if self.weights else set())
        found = {"weights": self.weights, **self.by_name()} if self.weights else {"revision": self.commit}
        settings = {**self.model_dump(exclude=left_out), **found}
        return digest({"guard": self.name, "version": self.version, "settings": settings})[:16]

    def by_name(self) -> dict[str, Any]:
        """Settings that follow from the model's name where they are not given, as they are for this one."""
        return {}

    def read(self, items: Sequence[Screened], side: Side, reader: Reads) -> list[Verdict]:
        """The verdicts on one side, ``prompt`` or ``response``; every item has that side."""
        raise NotImplementedError


def on_sides(
    on: Side, items: Sequence[Screened], read: Callable[[Sequence[Screened], Side], Sequence[Verdict]]
) -> list[Verdict]:
    """The verdicts of ``read`` on the side asked for; on both, an item is stopped where either is.

    An item without an answer has no verdict on its answer.
    """
    if on == "prompt":
        return list(read(items, "prompt"))
    answered = [item for item in items if item.response is not None]
    found = {verdict.id: verdict for verdict in (read(answered, "response") if answered else ())}
    responses = [found.get(item.id) or Verdict(id=item.id, flagged=None, reason="no answer to read") for item in items]
    if on == "response":
        return responses
    prompts = read(items, "prompt") if items else []
    return [either(a, b) for a, b in zip(prompts, responses, strict=True)]


def either(first: Verdict, second: Verdict) -> Verdict:
    """Two verdicts on one item as one: stopped where either stops it, silent where one is silent and none stops it."""
    flagged = True if first.flagged or second.flagged else None if None in (first.flagged, second.flagged) else False
    scores = [v.score for v in (first, second) if v.score is not None]
    stopped = [v for v in (first, second) if v.flagged]
    return Verdict(
        id=first.id,
        flagged=flagged,
        score=max(scores) if scores else None,
        categories=merged(v.categories for v in stopped),
        native=merged(v.native for v in stopped),
        reason="; ".join(dict.fromkeys(v.reason for v in (stopped or (first, second)) if v.reason)),
        failed=flagged is None and (first.failed or second.failed),
    )


def merged(groups: Any) -> tuple[str, ...]:
    """Names in order, each once."""
    return tuple(dict.fromkeys(name for group in groups for name in group))


def mapped(native: Sequence[str], table: Mapping[str, str]) -> tuple[str, ...]:
    """Our hazard categories for a guard's own; those that have none here are left out."""
    return tuple(dict.fromkeys(table[name] for name in native if name in table))


TOO_LONG = "longer than the guard can read"

guards: Registry[GuardSpec] = Registry("guard", "multitask_bench.guards")
