"""The rows that the stages exchange.

A rate is a fraction in [0, 1] everywhere in the package; only reports print percent. A missing
value is ``None``, never 0, -1 or NaN. Rows are joined by id, never by position.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator


class StrictModel(BaseModel):
    """A frozen record: a key that it does not know is an error, not a default."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())


Language = Literal["en", "fr"]
Split = Literal["train", "validation", "test"]
Expected = Literal["refuse", "answer", "disputed"]
Bundle = Literal["near", "plain"]
"""Which bundled intents: those whose twins share nearly all words (the instrument), or plainer ones for toy models."""
Stage = Literal["base", "aligned", "control", "tuned", "repaired"]

LANGUAGE_NAMES: dict[Language, str] = {"en": "English", "fr": "French"}
OWN_FORM = "own"
"""The form of a user's prompt that does not say which form it is."""


class Outcome(StrEnum):
    """What became of one probe; every probe has exactly one (the ledger)."""

    COMPLIED = "complied"
    PARTIAL = "partial"
    REFUSED = "refused"
    OFF_TASK = "off_task"
    INCOHERENT = "incoherent"
    JUDGE_REFUSED = "judge_refused"
    UNSCORED = "unscored"


ANSWERED = frozenset({Outcome.COMPLIED, Outcome.PARTIAL})
UNJUDGED = frozenset({Outcome.JUDGE_REFUSED, Outcome.UNSCORED})
BROKEN = frozenset({Outcome.OFF_TASK, Outcome.INCOHERENT})


class Bilingual(StrictModel):
    """The same wording in English and in French."""

    en: Annotated[str, Field(min_length=3)]
    fr: Annotated[str, Field(min_length=3)]


class Choice(StrictModel):
    """A question with three options."""

    question: str
    options: tuple[str, str, str]


class Labelling(StrictModel):
    """A text to be given one of two labels."""

    task: str
    text: str
    labels: tuple[str, str]


class TwinAnswers(StrictModel):
    """Helpful answers to a twin, for the forms whose answer does not follow from its wording."""

    text_generation: str
    notes: str
    """The notes in one sentence."""
    dialogue: str | None = None
    """The dialogue in one sentence."""


class Wording(StrictModel):
    """One side of an intent in one language: what the five forms need."""

    goal: Annotated[str, Field(min_length=3)]
    """Bare verb phrase: "Explain how to {goal}."."""
    program: str
    """Third person: "Write a Python function that {program}."."""
    why: str
    """Bare verb phrase: what the translated message is for."""
    choice: Choice
    label: Labelling
    notes: str
    """The asker's own notes towards the goal, two or three sentences."""
    dialogue: str | None = None
    """Two people on the same goal, one turn a line."""
    answers: TwinAnswers | None = None


class Solution(StrictModel):
    """What a twin's answers are in any language: the right option and label, and working code."""

    choice: Annotated[int, Field(ge=0, le=2)]
    label: Annotated[int, Field(ge=0, le=1)]
    code: str
    test: str | None = None
    """One line that passes after ``code``."""


class Side(StrictModel):
    """One side of an intent, in English and in French."""

    harm: Bilingual | None = None
    """A noun phrase that names the harm: "I won't help with {harm}."."""
    function: str
    """The signature of the program asked for, such as ``count_walks(days)``."""
    message: Bilingual
    """What is to be translated, in both languages: each is the other's reference."""
    en: Wording
    fr: Wording | None = None
    solution: Solution | None = None

    def wording(self, language: Language) -> Wording:
        """The side in that language."""
        found = self.en if language == "en" else self.fr
        assert found is not None, "French requests are made of intents that have French wordings"
        return found


class Intent(StrictModel):
    """One harmful goal with its benign twin, which shares its vocabulary."""

    id: str
    hazard: str
    cluster: str
    split: Split
    harmful: Side
    twin: Side

    @model_validator(mode="after")
    def _sides_are_what_they_claim(self) -> Intent:
        harmful, twin = self.harmful, self.twin
        if not harmful.harm or harmful.solution or harmful.en.answers or (harmful.fr and harmful.fr.answers):
            raise ValueError(f"{self.id}: the harmful side needs 'harm' and must hold no answers")
        if not (twin.solution and twin.en.answers and (twin.fr is None or twin.fr.answers)):
            raise ValueError(f"{self.id}: the twin lacks an answer")
        if (harmful.fr is None) != (twin.fr is None):
            raise ValueError(f"{self.id}: one side has French wordings, the other has none")
        return self


class Message(StrictModel):
    """One turn of a conversation."""

    role: Literal["system", "user", "assistant"]
    content: str


class Conversation(StrictModel):
    """A training row: it ends with the assistant's answer, on which alone the loss falls."""

    id: str
    messages: tuple[Message, ...]
    kind: Literal["benign", "safety", "twin", "chat"] = "benign"

    @model_validator(mode="after")
    def _ends_with_an_answer(self) -> Conversation:
        if len(self.messages) < 2 or self.messages[-1].role != "assistant":
            raise ValueError(f"row {self.id}: a conversation ends with the assistant's answer")
        return self


class Probe(StrictModel):
    """An intent, or its twin, in a form, a template and a language: ready to send."""

    id: str
    intent_id: str
    form: str
    prompt: str
    hazard: str | None = None
    template_id: str | None = None
    template_seen: bool | None = None
    language: str = "en"
    twin: bool = False
    expected: Expected = "refuse"
    source: str = "bundled"
    system: str | None = None
    target_language: Language | None = None
    options: tuple[str, ...] | None = None
    reference: str | None = None


class Response(StrictModel):
    """What a model answered, with what a judge needs to know of the request."""

    id: str
    prompt: str
    text: str
    form: str = OWN_FORM
    language: str | None = None
    target_language: Language | None = None
    options: tuple[str, ...] | None = None
    truncated: bool = False
    error: str | None = None


class Judgment(StrictModel):
    """A judge's word on one response: the outcome, why, and the span that decided."""

    id: str
    outcome: Outcome
    reason: str = ""
    span: str = ""


class Rate(StrictModel):
    """A share of ``n`` rows with its 95 % interval; all None where nothing was judged."""

    value: float | None
    low: float | None
    high: float | None
    n: int
