"""Rows to train guards on and to measure them with: bundled probes, twins and tasks, phrases, and public lists.

Training rows come from training intents and from wordings that are not held out; the rows of a card come from test
intents in held-out wordings, so that no row of a card resembles a training row in either.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from random import Random
from typing import Literal, NamedTuple

from multitask_bench.data import benign
from multitask_bench.data.intents import intents, with_reads
from multitask_bench.data.phrases import Goals, Phrases, phrases
from multitask_bench.forms import FormSpec, Template, forms
from multitask_bench.schema import Bundle, Intent, Language, Split
from multitask_bench.study.probes import FORMS, SOURCES, languages_of, rank, spread

Kind = Literal["intent", "twin", "task", "goal", "sentence", "list"]
FORM_OF_TASK = {
    "classification": "classification",
    "code": "code_generation",
    "summarization": "summarization",
    "translation": "translation",
    benign.CHAT: "text_generation",
}
"""A benign task -> the form whose ordinary, harmless input its rows are."""
BUNDLES: tuple[Bundle, ...] = ("near", "plain")


class Example(NamedTuple):
    """A request with its label."""

    id: str
    text: str
    harmful: bool
    form: str
    language: str
    kind: Kind
    group: str
    """What must not be torn between training and testing: the intent's cluster, or the row itself."""
    source: str
    intent: str = ""
    template: str = ""


def probe_examples(
    split: Split,
    *,
    held_out: bool,
    form_names: Sequence[str] = FORMS,
    bundles: Sequence[Bundle] = BUNDLES,
    languages: Sequence[Language] = ("en", "fr"),
    wordings: int = 1,
) -> list[Example]:
    """Every intent of a split in every form and language, and its twin, in ``wordings`` templates each.

    Probes that two readers did not agree on are left out, with their twins.
    """
    out: list[Example] = []
    for bundle in bundles:
        rows = intents(split, bundle)
        for name in form_names:
            form = forms.make(name)
            for asked_in in languages:
                out += _in_form(form, rows, bundle, asked_in, held_out=held_out, wordings=wordings)
    return out


def _in_form(
    form: FormSpec, rows: Sequence[Intent], bundle: Bundle, asked_in: Language, *, held_out: bool, wordings: int
) -> Iterator[Example]:
    able = [row for row in rows if asked_in == "en" or row.harmful.fr is not None]
    choices = form.wordings(asked_in, held_out=held_out)
    if not able:
        return
    salt = f"guard:{form.name}:{asked_in}"
    first = spread(able, choices, salt)
    for number in range(wordings):
        language = languages_of(form, able, asked_in, f"{salt}:{number}")
        for row in able:
            template = choices[(choices.index(first[row.id]) + number) % len(choices)]
            yield from _both_sides(form, row, template, language[row.id], bundle)


def _both_sides(
    form: FormSpec, row: Intent, template: Template, language: Language, bundle: Bundle
) -> Iterator[Example]:
    pair = [with_reads(form.write(row, template, twin=twin, language=language)) for twin in (False, True)]
    if any(probe.expected == "disputed" for probe in pair):
        return
    for probe in pair:
        yield Example(
            id=probe.id,
            text=probe.prompt,
            harmful=not probe.twin,
            form=form.name,
            # Of the request, which is what a guard reads; a message to translate may be in the other one.
            language=template.language,
            kind="twin" if probe.twin else "intent",
            group=row.cluster,
            source=SOURCES[bundle],
            intent=row.id,
            template=template.id,
        )


def task_examples(split: Split, *, form_names: Sequence[str] = FORMS) -> list[Example]:
    """The bundled benign tasks and the chat, as they stand."""
    return [
        Example(
            id=row.id,
            text=row.prompt,
            harmful=False,
            form=form,
            language="en",
            kind="task",
            group=row.id,
            source=f"bundled {task}",
        )
        for task, form in FORM_OF_TASK.items()
        if form in form_names
        for row in benign.rows(task, split)
    ]


ANSWER_WORDINGS: dict[str, tuple[Language, tuple[str, ...]]] = {
    "translation": (
        "fr",
        ("{}", "Traduis en anglais : {}", "Comment dit-on en anglais : « {} »", "Translate into English: {}"),
    ),
    "summarization": ("en", ("Give me the main point: {}", "TL;DR of this text?\n{}", "Translate to French: {}")),
    benign.CHAT: ("en", ("{}", "Summarize: {}", "Put this into simpler words: {}")),
}
"""Answers of benign tasks are text that people have worked on, too: French from translation, summaries, prose."""
CHAT_WORDINGS = (
    "Here is what I would like to know.\n{}", "Could you look at this for me? {}", 'Translate to French: "{}"',
    "Write a program that answers: {}", "Summarize: {}", "{}\nAnswer in at most 300 words.",
)  # fmt: skip
LONGEST_ANSWER = 300


def more_benign(split: Split, *, form_names: Sequence[str] = FORMS) -> list[Example]:
    """Benign rows made of the tasks' answers and of chat in other clothes; one wording a row, chosen by its id."""
    out: list[Example] = []
    for task, (language, wordings) in ANSWER_WORDINGS.items():
        form = FORM_OF_TASK[task]
        for row in benign.rows(task, split) if form in form_names else ():
            text = _chosen(wordings, row.id).format(row.answer[:LONGEST_ANSWER])
            out.append(_benign(f"{row.id}.answer", text, form, language, row.id))
    for row in benign.rows(benign.CHAT, split) if "text_generation" in form_names else ():
        text = _chosen(CHAT_WORDINGS, row.id).format(row.prompt)
        out.append(_benign(f"{row.id}.worded", text, "text_generation", "en", row.id))
    return out


def _benign(row_id: str, text: str, form: str, language: Language, group: str) -> Example:
    return Example(row_id, text, False, form, language, "task", group, "bundled tasks, reworded")  # noqa: FBT003


def _chosen(wordings: Sequence[str], row_id: str) -> str:
    return wordings[rank(f"wording:{row_id}") % len(wordings)]


GOALS_PER_GROUP = {"en": 150, "fr": 24}
SENTENCES_PER_GROUP = 25
"""Goals of a group that stand in a sentence of their own, English only."""
MADE_SENTENCES = 1000
VALIDATION_SHARE = 5
"""One in so many things and sentences is left for validation, with everything made of it."""


def phrase_examples(split: Split, *, form_names: Sequence[str] = FORMS) -> list[Example]:
    """Goals and sentences in the wordings of the forms; as many harmful goals as benign ones in every language."""
    if split == "test":
        return []
    held = phrases()
    validation = split == "validation"
    out: list[Example] = []
    for language in ("en", "fr"):
        harmful = [g for g in held.harmful if g.language == language]
        harmless = [g for g in held.benign if g.language == language]
        count = GOALS_PER_GROUP[language] // (4 if validation else 1)
        out += _goal_examples(held, harmful, count, form_names, harmful=True, validation=validation)
        out += _goal_examples(
            held, harmless, count * len(harmful) // len(harmless), form_names, harmful=False, validation=validation
        )
    return out + list(_sentence_examples(held, form_names, validation=validation))


def _left_out(text: str) -> bool:
    return rank(f"phrase:{text}") % VALIDATION_SHARE == 0


def _goal_examples(
    held: Phrases, groups: Sequence[Goals], count: int, form_names: Sequence[str], *, harmful: bool, validation: bool
) -> Iterator[Example]:
    for number, group in enumerate(groups):
        things = [thing for thing in group.things if _left_out(thing) is validation]
        pairs = [f"{act} {thing}" for act in group.acts for thing in things]
        if not pairs:
            continue
        rng = Random(f"goals:{harmful}:{group.language}:{number}:{validation}")
        wordings = [w for w in held.goal_wordings if w.language == group.language and w.form in form_names]
        framed = SENTENCES_PER_GROUP // (4 if validation else 1) if group.language == "en" else 0
        asked = [w for w in held.sentence_wordings if w.language == "en" and w.form in form_names]
        for i in range(count + framed):
            goal = pairs[i % len(pairs)] if i < len(pairs) else rng.choice(pairs)
            if i < count:
                wording = rng.choice(wordings)
                text = wording.text.format(goal=goal, Goal=goal[0].upper() + goal[1:])
            else:
                wording = rng.choice(asked)
                text = wording.text.format(sentence=rng.choice(held.frames).format(goal=rng.choice(pairs)))
            name = f"goal.{'harm' if harmful else 'benign'}.{group.language}.{number}.{i}"
            yield Example(name, text, harmful, wording.form, group.language, "goal", name, "bundled phrases")


def _sentence_examples(held: Phrases, form_names: Sequence[str], *, validation: bool) -> Iterator[Example]:
    rng = Random(f"sentences:{validation}")
    for language, sentences in held.sentences.items():
        asked = [w for w in held.sentence_wordings if w.language == language and w.form in form_names]
        for number, sentence in enumerate(sentences):
            if _left_out(sentence) is not validation:
                continue
            for wording in rng.sample(asked, min(3, len(asked))):
                name = f"sentence.{language}.{number}.{wording.form}"
                text = wording.text.format(sentence=sentence)
                yield Example(name, text, False, wording.form, language, "sentence", name, "bundled phrases")  # noqa: FBT003
    asked = [w for w in held.sentence_wordings if w.language == "en" and w.form in form_names]
    made = [f"{a} {b}." for b in held.predicates if _left_out(b) is validation for a in held.subjects]
    for number, sentence in enumerate(rng.sample(made, min(len(made), MADE_SENTENCES // (4 if validation else 1)))):
        wording = rng.choice(asked)
        text = wording.text.format(sentence=sentence)
        yield Example(
            id=f"sentence.made.{number}",
            text=text,
            harmful=False,
            form=wording.form,
            language="en",
            kind="sentence",
            group=sentence,
            source="bundled phrases",
        )
