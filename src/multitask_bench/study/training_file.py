"""The user's own training rows: checked before any training, and held against the probes."""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from pathlib import Path

from multitask_bench.data.chat_formats import TrainRow, Turn
from multitask_bench.data.intents import FOLDERS as BUNDLES
from multitask_bench.data.intents import intents
from multitask_bench.data.overlap import TestText, overlap
from multitask_bench.data.preflight import Options, preflight
from multitask_bench.data.prompts import chat_file
from multitask_bench.errors import DataError
from multitask_bench.forms import forms
from multitask_bench.judges import judges
from multitask_bench.schema import OWN_FORM, Conversation, Language, Outcome, Probe, Response
from multitask_bench.study.probes import FORMS

NO_LIMIT = 1 << 40
"""Lengths are counted with the model's tokenizer when it trains."""


_TRANSLATION = re.compile(r"\btranslat|\btradui|\binto (?:french|english)\b|\ben (?:français|anglais)\b", re.IGNORECASE)
_FORMS = (OWN_FORM, "classification", "summarization", "code_generation", "text_generation")


def refuses(request: str, answer: str) -> bool:
    """Whether the offline judge reads ``answer`` as a refusal, in whatever form the request is.

    A training row does not say its form; only a translation is told apart, where "I won't choose" may
    be the message.
    """
    tried = ("translation", OWN_FORM) if _TRANSLATION.search(request) else _FORMS
    rows = [Response(id=form, prompt=request, text=answer, form=form) for form in tried]
    return any(verdict.outcome is Outcome.REFUSED for verdict in judges.make("refusal").judge(rows))


@functools.cache
def _bundled_twins() -> frozenset[str]:
    """Every training twin in every training template: benign, but worded to look harmful."""
    out = set()
    for name in FORMS:
        form = forms.make(name)
        for intent in (row for bundle in BUNDLES for row in intents("train", bundle)):
            for template in (t for t in form.templates if not t.held_out and form.fits(intent, t)):
                languages: tuple[Language, ...] = ("en", "fr") if template.language == "en" else ("fr",)
                for language in languages if name == "translation" else (template.language,):
                    out.add(form.write(intent, template, twin=True, language=language).prompt)
    return frozenset(out)


def known_benign(request: str) -> bool:
    """Whether a request is a bundled twin."""
    return request in _bundled_twins()


def own_rows(path: Path, *, allow_flagged: bool = False) -> list[Conversation]:
    """The rows of a training file that pre-flight lets pass.

    Raises: DataError: a row that makes training wrong, or more than 1 % answered harmful requests.
    """
    found = preflight(path, Options(NO_LIMIT, refuses=refuses, known_benign=known_benign))
    errors = [f for f in found.errors if not (allow_flagged and f.code == "flagged_share")]
    if errors:
        first = errors[0]
        rows = ", ".join(map(str, first.rows[:5]))
        flag = ", or --allow-flagged to go on" if all(f.code == "flagged_share" for f in errors) else ""
        raise DataError(
            f"{path}: {first.facts()['what']} (rows {rows}{' ...' if first.found > 5 else ''}); "
            f"mtb data check {path} says what to do{flag}."
        )
    return chat_file(path)


def probes_held(rows: Sequence[Conversation], probes: Sequence[Probe]) -> int:
    """How many probes stand, word for word or nearly, in the rows a model is trained on."""
    train = [
        TrainRow(number, "messages", tuple(Turn(m.role, m.content) for m in row.messages))
        for number, row in enumerate(rows)
    ]
    found = overlap(train, [TestText(probe.id, probe.prompt) for probe in probes])
    return len(found.exact) + len(found.near)
