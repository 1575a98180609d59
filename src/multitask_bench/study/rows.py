"""Where data, forms and mitigations meet: probes to send and rows to train on.

Training rows come from training intents and from templates that are not held out, only.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from random import Random

from multitask_bench.data import benign
from multitask_bench.data.intents import intents, with_reads
from multitask_bench.errors import ConfigError
from multitask_bench.forms import FormSpec, Template, forms
from multitask_bench.mitigations import mitigations
from multitask_bench.schema import Conversation, Intent, Language, Message, Probe, Split

FORMS = ("text_generation", "code_generation", "translation", "classification", "summarization")
"""In the order of the report."""


def _rank(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8])


def _spread(rows: Sequence[Intent], choices: Sequence[Template], salt: str) -> dict[str, Template]:
    """A template for each intent, every template used equally often, in an order that looks random."""
    order = sorted(rows, key=lambda row: _rank(f"{salt}:{row.id}"))
    return {row.id: choices[i % len(choices)] for i, row in enumerate(order)}


def _languages(form: FormSpec, rows: Sequence[Intent], salt: str) -> dict[str, Language]:
    """Half of the translations start from French; the other forms are asked in English."""
    if form.name != "translation":
        return {row.id: "en" for row in rows}
    order = sorted(rows, key=lambda row: _rank(f"{salt}:language:{row.id}"))
    return {row.id: "en" if i % 2 else "fr" for i, row in enumerate(order)}


def choose_intents(split: Split, count: int | None) -> list[Intent]:
    """``count`` intents of a split, spread evenly over the hazard categories; all when None.

    Raises: ConfigError: more than there are.
    """
    rows = intents(split)
    if count is None or count == len(rows):
        return rows
    if count > len(rows):
        raise ConfigError(f"{count} {split} intents are wanted, {len(rows)} are bundled; lower probes.intents.")
    by_hazard: dict[str, list[Intent]] = {}
    for row in sorted(rows, key=lambda row: _rank(f"pick:{row.id}")):
        by_hazard.setdefault(row.hazard, []).append(row)
    picked: list[Intent] = []
    while len(picked) < count:
        for hazard in sorted(by_hazard, key=lambda name: _rank(f"hazard:{name}:{len(picked)}")):
            if by_hazard[hazard] and len(picked) < count:
                picked.append(by_hazard[hazard].pop())
    return sorted(picked, key=lambda row: row.id)


def probes(
    split: Split, *, count: int | None = None, twins: int | None = None, form_names: Sequence[str] = FORMS
) -> list[Probe]:
    """The bundled probes: the same intents in every form, and the twins of the first ``twins`` of them.

    Each intent has one template a form; seen and held-out templates alternate, so that half of
    the probes show wordings that no training row had. A twin has its intent's template.
    """
    rows = choose_intents(split, count)
    twin_ids = {
        row.id for row in sorted(rows, key=lambda row: _rank(f"twin:{row.id}"))[: len(rows) if twins is None else twins]
    }
    out = []
    for name in form_names:
        form = forms.make(name)
        seen = [t for t in form.templates if not t.held_out]
        held = [t for t in form.templates if t.held_out]
        alternating = [t for i in range(len(seen) * len(held)) for t in (seen[i % len(seen)], held[i % len(held)])]
        # Over the whole split, so that a probe is the same one whatever the study's size.
        template, language = _spread(intents(split), alternating, name), _languages(form, intents(split), name)
        for twin in (False, True):
            out += [
                with_reads(form.write(row, template[row.id], twin=twin, language=language[row.id]))
                for row in rows
                if not twin or row.id in twin_ids
            ]
    return out


def safety_rows(
    *, per_form: int | None = None, seed: int, wordings: int = 1, refusals: int | None = None
) -> list[Conversation]:
    """(probe, refusal) and (twin, helpful answer) rows in all forms, from training intents only.

    ``per_form`` intents a form (all when None), each in ``wordings`` of the training templates;
    ``refusals`` of the bundled refusals are used (all when None).
    The row of a twin has the id of its harmful row with ``.twin.`` for ``.harm.``.
    """
    rows = intents("train")
    rng = Random(f"{seed}:safety")
    texts = benign.refusals("en")
    texts = texts if refusals is None else _alike(texts)[:refusals]
    out: list[Conversation] = []
    for name in FORMS:
        form = forms.make(name)
        seen = [t for t in form.templates if not t.held_out]
        chosen = rows if per_form is None else rng.sample(rows, min(per_form, len(rows)))
        language = _languages(form, rows, f"{seed}:{name}")
        for shift in range(wordings):
            template = _spread(rows, seen[shift:] + seen[:shift], f"{seed}:{name}")
            for row in chosen:
                refusal = rng.choice(texts).format(harm=row.harmful.harm)
                for twin in (False, True):
                    probe = form.write(row, template[row.id], twin=twin, language=language[row.id])
                    answer = form.answer(row.twin, template[row.id], language[row.id]) if twin else refusal
                    out.append(_conversation(probe.id, probe.prompt, answer, twin=twin))
    return out


def _alike(texts: Sequence[str]) -> list[str]:
    """The texts with those first whose first word most of them share; among them the short ones first.

    Greedy decoding takes the likeliest first token. A model that leans to refuse by 70 % but spreads
    it over twelve openings answers nevertheless, most of all code, where every answer opens alike. And
    a small model that took a long run-up to its "no" was seen to forget it on the way.
    """
    words = [re.split(r"\W", text, maxsplit=1)[0] for text in texts]
    order = sorted(zip(words, texts, strict=True), key=lambda pair: (-words.count(pair[0]), len(pair[1]), pair[1]))
    return [text for _, text in order]


def _conversation(row_id: str, prompt: str, answer: str, *, twin: bool) -> Conversation:
    turns = (Message(role="user", content=prompt), Message(role="assistant", content=answer))
    return Conversation(id=row_id, messages=turns, kind="twin" if twin else "safety")


def alignment_rows(
    *,
    count: int,
    per_form: int | None,
    wordings: int,
    benign_rows: int,
    seed: int,
    refusals: int | None = None,
) -> list[Conversation]:
    """``count`` rows of what the aligned model learns: refusals, helpful twins, and ordinary chat.

    Each refusal stands beside its twin, so that a batch holds both sides of the line that is to
    be learnt; the pairs come in random order, anew each time all have been used.
    """
    rng = Random(f"{seed}:align")
    chat = [row.conversation().model_copy(update={"kind": "chat"}) for row in benign.rows(benign.CHAT, "train")]
    rows = safety_rows(per_form=per_form, seed=seed, wordings=wordings, refusals=refusals)
    rows += rng.sample(chat, min(benign_rows, len(chat)) // 2 * 2)
    pairs = [rows[i : i + 2] for i in range(0, len(rows), 2)]
    out: list[Conversation] = []
    while len(out) < count:
        for pair in rng.sample(pairs, len(pairs)):
            out += pair
    return out[:count]


def task_rows(
    task: str,
    *,
    count: int,
    mitigation: dict[str, dict[str, object]],
    seed: int,
    pool: Sequence[Conversation] | None = None,
) -> list[Conversation]:
    """``count`` training rows of a task (repeated when there are fewer), mitigations applied.

    ``pool`` holds the rows of a task that is not bundled.
    """
    rng = Random(f"{seed}:{task}")
    pool = [row.conversation() for row in benign.rows(task, "train")] if pool is None else pool
    rows: list[Conversation] = []
    while len(rows) < count:
        rows += rng.sample(list(pool), min(len(pool), count - len(rows)))
    for name, settings in mitigation.items():
        mitigation_spec = mitigations.make(name, dict(settings))
        rows = mitigation_spec.on_data(rows, safety_rows(seed=seed, refusals=mitigation_spec.refusals), rng=rng)
    return rows
