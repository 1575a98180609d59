"""Short goals and everyday sentences, written for this project, from which the embedded guard learns its words.

The bundled intents are few and their twins share nearly all words, so that a guard trained on them alone knows few
of the words that harmful requests elsewhere are made of (measured in ``benchmarks/guards``). Harmful goals name a harm
in general words only.
"""

from __future__ import annotations

from multitask_bench.data.intents import BUNDLED
from multitask_bench.records import read_json, validated
from multitask_bench.schema import Language, StrictModel


class Goals(StrictModel):
    """Acts and what they are done to: every act fits every thing."""

    language: Language
    topic: str
    """A hazard category for harmful goals."""
    acts: tuple[str, ...]
    things: tuple[str, ...]


class Wording(StrictModel):
    """A request around ``{goal}`` (``{Goal}`` begins with a capital) or ``{sentence}``."""

    form: str
    language: Language
    text: str


class Phrases(StrictModel):
    """What the bundled file holds."""

    notice: str
    harmful: tuple[Goals, ...]
    benign: tuple[Goals, ...]
    goal_wordings: tuple[Wording, ...]
    """The same for harmful and benign goals, so that a wording says nothing."""
    frames: tuple[str, ...]
    """English sentences around ``{goal}``, for both kinds too."""
    sentence_wordings: tuple[Wording, ...]
    sentences: dict[Language, tuple[str, ...]]
    """Benign."""
    subjects: tuple[str, ...]
    predicates: tuple[str, ...]
    """Every subject goes with every predicate; English and benign."""


def phrases() -> Phrases:
    """The bundled phrases."""
    path = BUNDLED / "guard_phrases.json"
    return validated(read_json(path), Phrases, where=str(path))
