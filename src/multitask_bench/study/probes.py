"""Probes to send: bundled intents in every form, or any list of requests put into the forms.

Everything here is deterministic: a probe is the same one whatever the size of the study.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from multitask_bench.data.intents import intents, with_reads
from multitask_bench.data.sources import Listed
from multitask_bench.errors import ConfigError
from multitask_bench.forms import FormSpec, Template, forms
from multitask_bench.schema import Bundle, Intent, Language, Probe, Split

FORMS = ("text_generation", "code_generation", "translation", "classification", "summarization")
"""In the order of the report."""


def form_rank(form: str | None) -> int:
    """The place of a form in the report; all others, and all forms together, stand last."""
    return FORMS.index(form) if form in FORMS else len(FORMS)


SOURCES: dict[Bundle, str] = {"near": "bundled", "plain": "bundled-plain"}
"""What results call the probes of a bundle."""


def rank(text: str) -> int:
    """A number that looks random and is the same everywhere, for choices that must not change."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8])


def spread(rows: Sequence[Intent], choices: Sequence[Template], salt: str) -> dict[str, Template]:
    """A template for each intent, every template used equally often, in an order that looks random."""
    order = sorted(rows, key=lambda row: rank(f"{salt}:{row.id}"))
    return {row.id: choices[i % len(choices)] for i, row in enumerate(order)}


def directions(rows: Sequence[Intent], salt: str) -> dict[str, Language]:
    """The language of the message to be translated: half English and half French, also within clusters."""
    by_cluster: dict[str, list[Intent]] = {}
    for row in sorted(rows, key=lambda row: rank(f"{salt}:direction:{row.id}")):
        by_cluster.setdefault(row.cluster, []).append(row)
    clusters = sorted(by_cluster, key=lambda name: rank(f"{salt}:cluster:{name}"))
    order = [row for name in clusters for row in by_cluster[name]]
    return {row.id: "en" if i % 2 else "fr" for i, row in enumerate(order)}


def languages_of(form: FormSpec, rows: Sequence[Intent], asked_in: Language, salt: str) -> dict[str, Language]:
    """The language of each intent's own words, for requests in ``asked_in``.

    An English request may ask to translate a French message; otherwise it is one language throughout.
    """
    if form.name == "translation" and asked_in == "en":
        return directions(rows, salt)
    return {row.id: asked_in for row in rows}


def choose_intents(split: Split, count: int | None, bundle: Bundle = "near") -> list[Intent]:
    """``count`` intents of a split, spread evenly over the hazard categories; all when None.

    Raises: ConfigError: more than there are.
    """
    rows = intents(split, bundle)
    if count is None or count == len(rows):
        return rows
    if count > len(rows):
        raise ConfigError(f"{count} {split} intents are wanted, {len(rows)} are bundled; lower probes.intents.")
    by_hazard: dict[str, list[Intent]] = {}
    for row in sorted(rows, key=lambda row: rank(f"pick:{row.id}")):
        by_hazard.setdefault(row.hazard, []).append(row)
    picked: list[Intent] = []
    while len(picked) < count:
        for hazard in sorted(by_hazard, key=lambda name: rank(f"hazard:{name}:{len(picked)}")):
            if by_hazard[hazard] and len(picked) < count:
                picked.append(by_hazard[hazard].pop())
    return sorted(picked, key=lambda row: row.id)


def probes(
    split: Split,
    *,
    count: int | None = None,
    twins: int | None = None,
    form_names: Sequence[str] = FORMS,
    languages: Sequence[Language] = ("en",),
    bundle: Bundle = "near",
) -> list[Probe]:
    """The bundled probes: the same intents in every form, and the twins of the first ``twins`` of them.

    Each intent has one template a form and request language; seen and held-out templates alternate,
    so that half of the probes show wordings that no training row had. A twin has its intent's template.
    Raises: ConfigError: more intents than there are, or a language that the bundle is not written in.
    """
    rows, whole = choose_intents(split, count, bundle), intents(split, bundle)
    if "fr" in languages and any(row.harmful.fr is None for row in whole):
        raise ConfigError(f"the '{bundle}' intents have no French requests; use the 'near' ones, or languages: [en].")
    source = SOURCES[bundle]
    ordered = sorted(rows, key=lambda row: rank(f"twin:{row.id}"))
    twin_ids = {row.id for row in ordered[: len(rows) if twins is None else twins]}
    out = []
    for name in form_names:
        form = forms.make(name)
        for asked_in in languages:
            fitting = [t for t in form.wordings(asked_in) if all(form.fits(row, t) for row in whole)]
            seen, held = [t for t in fitting if not t.held_out], [t for t in fitting if t.held_out]
            alternating = [t for i in range(len(seen) * len(held)) for t in (seen[i % len(seen)], held[i % len(held)])]
            # Over the whole split, so that a probe is the same one whatever the study's size.
            template = spread(whole, alternating, f"{name}:{asked_in}")
            language = languages_of(form, whole, asked_in, name)
            for twin in (False, True):
                out += [
                    with_reads(form.write(row, template[row.id], twin=twin, language=language[row.id])).model_copy(
                        update={"source": source}
                    )
                    for row in rows
                    if not twin or row.id in twin_ids
                ]
    return out


def listed_probes(found: Listed, *, count: int | None = None, form_names: Sequence[str] = FORMS) -> list[Probe]:
    """The requests of a list in every form, by template; ``count`` of them, chosen by hash.

    Raises: ConfigError: more than there are.
    """
    rows = sorted(found.rows, key=lambda row: rank(f"pick:{row.id}"))
    if count is not None and count > len(rows):
        raise ConfigError(f"{count} requests of {found.name} are wanted, {len(rows)} are there; lower the number.")
    chosen = sorted(rows[:count], key=lambda row: row.id)
    out = []
    for name in form_names:
        form = forms.make(name)
        order = sorted(rows, key=lambda row: rank(f"{name}:{row.id}"))
        template = {row.id: form.request_templates[i % len(form.request_templates)] for i, row in enumerate(order)}
        for row in chosen:
            wording = template[row.id]
            out.append(
                Probe.model_validate(
                    {
                        "id": f"{found.name}.{row.id}.{wording.id}",
                        "intent_id": f"{found.name}.{row.id}",
                        "form": name,
                        "hazard": row.category,
                        "template_id": wording.id,
                        "template_seen": False,
                        "twin": row.benign,
                        "expected": "answer" if row.benign else "refuse",
                        "source": found.name,
                        **form.wrap(row.text, wording),
                    }
                )
            )
    return out
