"""The multitask safety set: (probe, refusal) pairs and (twin, helpful answer) pairs in every form.

After Jan et al. (2024), arXiv:2409.15361, whose set has no twins (METHODS 1.3). Rows come from
training intents and from templates that are not held out, only. ``plain`` is the existing solution
of their third research question: the same pairs in the instruction form alone, as in Bianchi et al.
(2023), arXiv:2309.07875.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from random import Random
from typing import Annotated, Literal, NamedTuple

from pydantic import Field, model_validator

from multitask_bench.data import refusals
from multitask_bench.data.intents import intents
from multitask_bench.errors import ConfigError
from multitask_bench.forms import FormSpec, Template, forms
from multitask_bench.schema import Bundle, Conversation, Intent, Language, Message, StrictModel
from multitask_bench.study.probes import FORMS, languages_of, rank


class SafetySet(StrictModel):
    """Which pairs a safety set holds."""

    kind: Literal["multitask", "plain"] = "multitask"
    """In every form, or in plain instructions only."""
    bundle: Bundle = "near"
    """Which training intents: those with near twins, or the plainer ones for toy models (English only)."""
    size: Annotated[int, Field(gt=0)] | None = None
    """Pairs in all, twins not counted; one a training intent and form when null."""
    forms: Annotated[dict[str, float], Field(default_factory=dict)]
    """Share of each form, as weights; equal when empty."""
    french: Annotated[float, Field(ge=0, le=1)] = 0.25
    """Share of the pairs that are asked, and refused, in French."""
    twins: bool = True
    """Whether each pair brings the benign twin with its helpful answer."""
    refusals: Annotated[int, Field(gt=0)] | None = None
    """Take this many of the wordings that fit any request, alike ones first; null: those written for the intent."""
    seed: int = 0
    """Seeds which intents, templates and refusals are taken."""

    @model_validator(mode="after")
    def _weights_are_of_forms(self) -> SafetySet:
        for name, weight in self.forms.items():
            if name not in FORMS:
                raise ValueError(f"forms: no form is named '{name}'; known: {', '.join(FORMS)}")
            if weight < 0:
                raise ValueError(f"forms: the share of {name} is below 0")
        if self.forms and not any(self.forms.values()):
            raise ValueError("forms: every share is 0")
        return self

    @model_validator(mode="after")
    def _plain_intents_are_english(self) -> SafetySet:
        if self.bundle == "plain" and self.french:
            raise ValueError("french: the 'plain' intents have no French requests; set it to 0")
        return self

    def weights(self) -> dict[str, float]:
        """Share of each form, in [0, 1], summing to 1."""
        if self.kind == "plain":
            return {"text_generation": 1.0}
        given = self.forms or dict.fromkeys(FORMS, 1.0)
        return {name: given[name] / sum(given.values()) for name in FORMS if given.get(name, 0) > 0}


class _Slot(NamedTuple):
    """One pair to be written."""

    intent: Intent
    template: Template
    language: Language
    round: int


def safety_rows(settings: SafetySet) -> list[Conversation]:
    """The rows of a set: each pair's refusal, and after it (with ``twins``) its helpful answer.

    The row of a twin has the id of its harmful row with ``.twin.`` for ``.harm.``.
    Raises: ConfigError: more pairs of a form and language than the training intents give.
    """
    rows = intents("train", settings.bundle)
    weights = settings.weights()
    size = settings.size or len(rows) * len(weights)
    rng = Random(f"{settings.seed}:safety")
    pairs: list[list[Conversation]] = []
    for name, count in _shared_out(size, weights).items():
        form = forms.make(name)
        pairs += [_pair(form, slot, settings, rng) for slot in _slots(form, rows, count, settings)]
    rng.shuffle(pairs)  # a set that is read from the top holds every form
    return [row for pair in pairs for row in pair]


def _pair(form: FormSpec, slot: _Slot, settings: SafetySet, rng: Random) -> list[Conversation]:
    """The refusal of one probe, and the helpful answer to its twin."""
    answers = {False: _refusal(slot, form.name, settings, rng)}
    if settings.twins:
        answers[True] = form.answer(slot.intent.twin, slot.template, slot.language)
    out = []
    for twin, answer in answers.items():
        probe = form.write(slot.intent, slot.template, twin=twin, language=slot.language)
        out.append(_conversation(probe.id, probe.prompt, answer, twin=twin))
    return out


def _shared_out(size: int, weights: dict[str, float]) -> dict[str, int]:
    """``size`` as whole numbers in proportion to ``weights`` (largest remainder)."""
    exact = {name: size * weight for name, weight in weights.items()}
    counts = {name: int(value) for name, value in exact.items()}
    for name in sorted(exact, key=lambda n: (counts[n] - exact[n], FORMS.index(n)))[: size - sum(counts.values())]:
        counts[name] += 1
    return counts


def _slots(form: FormSpec, rows: Sequence[Intent], count: int, settings: SafetySet) -> list[_Slot]:
    wanted: dict[Language, int] = {"fr": round(count * settings.french)}
    wanted["en"] = count - wanted["fr"]
    most = len(rows) * sum(all(form.fits(row, t) for row in rows) for t in form.wordings(held_out=False))
    if wanted["en"] > most:  # the instruction form alone cannot fill a large set in one language
        wanted["fr"] += wanted["en"] - most
        wanted["en"] = most
    if wanted["fr"] > most:
        raise ConfigError(
            f"safety set: {count} pairs of {form.name} are wanted, {2 * most} can be made of {len(rows)} training "
            "intents; lower the size, or change the shares of forms and of French."
        )
    out: list[_Slot] = []
    for language in ("en", "fr"):
        slots = _endless(form, rows, language, settings.seed)
        out += [next(slots) for _ in range(wanted[language])]
    return out


def _endless(form: FormSpec, rows: Sequence[Intent], asked_in: Language, seed: int) -> Iterator[_Slot]:
    """Every training intent in one template, then every one in the next, and so on."""
    seen = [t for t in form.wordings(asked_in, held_out=False) if all(form.fits(row, t) for row in rows)]
    # French starts at the other end of the list, so that a set of both tires no intent twice first.
    order = sorted(rows, key=lambda row: rank(f"{seed}:{form.name}:{row.id}"), reverse=asked_in == "fr")
    for number in range(len(seen)):
        language = languages_of(form, rows, asked_in, f"{seed}:{form.name}:{number}")
        for i, row in enumerate(order):
            yield _Slot(row, seen[(i + number) % len(seen)], language[row.id], number)


def _refusal(slot: _Slot, form: str, settings: SafetySet, rng: Random) -> str:
    """In the language of the request around the intent's own words."""
    language = slot.template.language
    written = refusals.written_refusals().get((slot.intent.id, form, language), ())
    if settings.refusals is None and written:
        fitting = [row for row in written if row.kind in ("", slot.template.kind)]
        chosen = [row.text for row in fitting or written]
        return chosen[slot.round % len(chosen)]
    texts = refusals.wordings(language)
    texts = texts if settings.refusals is None else tuple(refusals.alike(texts)[: settings.refusals])
    harm = slot.intent.harmful.harm
    assert harm is not None, "a harmful side names its harm"
    return rng.choice(texts).format(harm=harm.en if language == "en" else harm.fr)


def _conversation(row_id: str, prompt: str, answer: str, *, twin: bool) -> Conversation:
    turns = (Message(role="user", content=prompt), Message(role="assistant", content=answer))
    return Conversation(id=row_id, messages=turns, kind="twin" if twin else "safety")
