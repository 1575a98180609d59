"""What the verbs of `mtb data` do and print."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import typer

from multitask_bench.cli._study import system_option
from multitask_bench.data import overlap as overlaps
from multitask_bench.data._findings import KINDS
from multitask_bench.data.chat_formats import stream
from multitask_bench.data.foreign import read_foreign, without
from multitask_bench.data.preflight import Finding, Options, Preflight, preflight
from multitask_bench.data.sources import Listed, read_list
from multitask_bench.errors import ConfigError, DataError, UnknownNameError
from multitask_bench.models.chat import system_text
from multitask_bench.records import TABLE_SUFFIXES, cache_folder, read_text, write_json
from multitask_bench.study import data_set
from multitask_bench.study.card import SHIPPED_SIZE
from multitask_bench.study.parsing import parsed
from multitask_bench.study.probes import FORMS, listed_probes, probes
from multitask_bench.study.safety_set import SafetySet, safety_rows
from multitask_bench.study.training_file import known_benign, refuses

SHOWN_ROWS = 12
"""Row numbers printed for each finding; --json has them all."""
FLAGS = ("duplicate", "leak", "not_a_refusal")


class ProbeRequest(NamedTuple):
    """Which probes are to be built."""

    source: str
    file: Path | None
    forms: tuple[str, ...]
    most: int | None
    split: str
    languages: tuple[str, ...]


def build_probes(
    asked: ProbeRequest, out: Path, *, rewriter: str | None, translator: str | None, allowed: tuple[str, ...]
) -> None:
    """Write probes to ``out``, worded by template and perhaps by a model."""
    if out.suffix.lower() not in TABLE_SUFFIXES:
        raise ConfigError(f"{out}: write probes to one of {', '.join(TABLE_SUFFIXES)}.")
    names = _known_forms(asked.forms)
    if asked.source == "bundled":
        if rewriter or translator:
            raise ConfigError("bundled probes are worded and translated already; give another --source.")
        made = _bundled(asked, names)
    else:
        found = read_list(asked.source, file=asked.file, cache=cache_folder())
        _say_source(found)
        made = listed_probes(found, count=asked.most, form_names=names)
        if rewriter or translator:
            made = _worded(made, found, rewriter, translator, allowed)
    data_set.write_probes(out, made)
    typer.echo(f"{len(made)} probes in {len({p.form for p in made})} forms\nwritten: {out}")


def _known_forms(chosen: Sequence[str]) -> tuple[str, ...]:
    for name in chosen:
        if name not in FORMS:
            raise UnknownNameError.of("form", name, FORMS)
    return tuple(dict.fromkeys(chosen)) or FORMS


def _bundled(asked: ProbeRequest, names: tuple[str, ...]) -> list[Any]:
    if asked.split not in ("test", "validation"):
        raise UnknownNameError.of("split", asked.split, ("test", "validation"))
    for language in asked.languages:
        if language not in ("en", "fr"):
            raise UnknownNameError.of("language", language, ("en", "fr"))
    return probes(asked.split, count=asked.most, form_names=names, languages=tuple(dict.fromkeys(asked.languages)))  # type: ignore[arg-type]


def _say_source(found: Listed) -> None:
    typer.echo(
        f"{found.name}: {len(found.rows)} requests, licence {found.licence}, gated: {found.gated}, {found.origin}"
    )
    typer.echo(f"sha256 {found.sha256}")
    for reason, number in found.dropped.items():
        typer.echo(f"left out: {number} rows ({reason})")


def _worded(
    made: list[Any], found: Listed, rewriter: str | None, translator: str | None, allowed: tuple[str, ...]
) -> list[Any]:
    from multitask_bench.study import rewrite
    from multitask_bench.study.remote import check_allowed

    for model in (rewriter, translator):
        if model:
            check_allowed(model, sent=f"{len(made)} harmful requests", allowed=allowed)
    texts = {f"{found.name}.{row.id}": row.text for row in found.rows}
    for model, work in ((rewriter, "rewritten"), (translator, "translated")):
        if model is None:
            continue
        done = rewrite.rewritten(made, texts, model) if work == "rewritten" else rewrite.translated(made, model)
        made = done.probes
        reasons = ", ".join(f"{reason} ({count})" for reason, count in sorted(done.kept.items()))
        left = f"; {sum(done.kept.values())} kept their template: {reasons}" if done.kept else ""
        typer.echo(f"{work} by {model}: {len(made) - sum(done.kept.values())}{left}")
    return made


def shares(texts: Sequence[str]) -> dict[str, float]:
    """``FORM=WEIGHT`` options as weights.

    Raises: ConfigError: not of that shape.
    """
    out = {}
    for text in texts:
        name, _, number = text.partition("=")
        try:
            weight = float(number)
        except ValueError:
            weight = math.nan
        if not math.isfinite(weight) or name in out:
            raise ConfigError(f"--share {text}: write FORM=WEIGHT once a form, such as translation=2.")
        out[name] = weight
    return out


def build_safety(settings: dict[str, Any], out: Path) -> None:
    """Write a safety set made of the training intents."""
    if settings["size"] is None:
        settings["size"] = SHIPPED_SIZE
    made = parsed(settings, SafetySet, where="safety set")
    rows = safety_rows(made)
    notes = [
        "From training intents and templates only; two templates a form and language are held out for testing.",
        "Written by language models for multitask-bench, copied from no data set; no person has read every row.",
    ]
    data_set.write_set(out, rows, settings=made.model_dump(mode="json"), notes=notes)
    typer.echo(
        f"{sum(r.kind == 'safety' for r in rows)} refusals, {sum(r.kind == 'twin' for r in rows)} helpful answers"
    )
    typer.echo(f"written: {out}\nnext: mtb data overlap {out} TEST_SET")


def build_foreign(kind: str, file: Path | None, out: Path, *, drop: tuple[str, ...]) -> None:
    """Write another's safety set in our format, flagged rows left out where asked."""
    if file is None:
        raise ConfigError(f"--kind {kind} reads another's set: give it with --file.")
    for flag in drop:
        if flag not in FLAGS:
            raise UnknownNameError.of("flag", flag, FLAGS)
    found = read_foreign(file, kind, refuses=refuses)  # type: ignore[arg-type]
    kept = without(found.rows, drop)
    if not kept:
        raise DataError(f"{file}: no rows are left once those flagged {', '.join(drop)} are dropped.")
    facts = found.facts()
    typer.echo(f"{facts['rows']} rows; forms: {_counts(facts['forms'])}; flagged: {_counts(facts['flags'])}")
    for reason, number in facts["dropped"].items():
        typer.echo(f"left out: {number} rows ({reason})")
    if drop:
        typer.echo(f"left out: {len(found.rows) - len(kept)} rows (flagged {', '.join(drop)})")
    notes = [f"Read from {file.name} as it is; its licence is its owner's.", "No twins: it teaches refusing alone."]
    settings = {"kind": kind, "drop": list(drop), "recovered": facts}
    data_set.write_set(out, data_set.foreign_conversations(kept, kind), settings=settings, notes=notes, licence="other")
    typer.echo(f"written: {out}")


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {number}" for name, number in counts.items()) or "none"


def check_file(
    file: Path,
    *,
    model: str | None,
    template: str,
    system: str | None,
    max_length: int,
    allow_flagged: bool,
    json_out: Path | None,
) -> int:
    """Print what is wrong with a training file; the exit code says whether training would be wrong."""
    if template not in ("native", "alpaca"):
        raise UnknownNameError.of("template", template, ("native", "alpaca"))
    deployed = system_text(system_option(system)) or "" if system is not None else None
    renderer = None
    if model is not None:
        from multitask_bench.study.rendering import Renderer

        renderer = Renderer(model, template=template, system="none", max_length=max_length)  # type: ignore[arg-type]
    options = Options(max_length, deployed, refuses, renderer.measure() if renderer else None, known_benign)
    found = preflight(file, options)
    if not found.rows:
        raise DataError(f"{file}: no rows.")
    errors = [f for f in found.errors if not (f.code == "flagged_share" and allow_flagged)]
    _print_check(file, found, model)
    if renderer is not None:
        _print_rendered(file, found, renderer)
    if json_out is not None:
        write_json(json_out, {**_check_facts(found), "exit_code": 2 if errors else 0})
        typer.echo(f"written: {json_out}")
    typer.echo(
        "verdict: " + ("training on this file would go wrong" if errors else "nothing that makes training wrong")
    )
    return 2 if errors else 0


def _check_facts(found: Preflight) -> dict[str, Any]:
    facts = found._asdict()
    return {**facts, "findings": [finding.facts() for finding in found.findings]}


def _print_check(file: Path, found: Preflight, model: str | None) -> None:
    how = f"with the tokenizer of {model}" if model else "estimated; give --model to count"
    typer.echo(f"{file}: {found.rows} rows ({_counts(found.formats)}), tokens a row ({how}): "
               f"mean {found.tokens['mean']:.0f}, most {found.tokens['max']:.0f}")  # fmt: skip
    for finding in found.findings:
        typer.echo(_line(finding))
        kind = KINDS[finding.code]
        typer.echo(f"    why: {kind.why}. do: {kind.todo}.")
    if found.near_checked < found.rows:
        typer.echo(f"near duplicates were looked for among {found.near_checked} prompts, exact ones among all.")


def _line(finding: Finding) -> str:
    shown = ", ".join(str(n) for n in finding.rows[:SHOWN_ROWS])
    more = f" and {finding.found - SHOWN_ROWS} more" if finding.found > SHOWN_ROWS else ""
    rows = f" (rows {shown}{more})" if shown else ""
    detail = f": {finding.detail}" if finding.detail else ""
    kind = KINDS[finding.code]
    return f"{kind.severity}: {finding.found} x {kind.what}{detail}{rows} [{finding.code}]"


def _print_rendered(file: Path, found: Preflight, renderer: Any) -> None:
    """One row without findings, as the model will see it."""
    touched = {number for finding in found.findings for number in finding.rows}
    row = next((row for row in stream(file) if row.fault is None and row.number not in touched), None)
    if row is None:
        typer.echo("no row is free of findings, so none is shown rendered.")
        return
    shown = renderer.rendered(row)
    typer.echo(f"row {row.number} as the model sees it ({shown.tokens} tokens); the loss skips what stands before >>>")
    typer.echo(f"{shown.masked}>>>{shown.learnt}<<<")


def show_overlap(train: Path, test: str, *, file: Path | None, json_out: Path | None) -> None:
    """Print how much of a test set stands in the training rows."""
    if test == "bundled":
        texts = [overlaps.TestText(p.id, p.prompt) for p in probes("test", languages=("en", "fr"))]
    else:
        texts = overlaps.test_texts(test, file=file, cache=cache_folder())
    found = overlaps.overlap(overlaps.train_rows(train), texts)
    if found.train_rows == 0:
        raise DataError(f"{train}: no rows.")
    if found.unreadable:
        typer.echo(f"warning: {found.unreadable} of {found.train_rows} training rows are in no known format")
    exact = {name: [str(number) for number in rows] for name, rows in found.exact.items()}
    near = {name: [f"{number} ({share:.0%})" for number, share in rows] for name, rows in found.near.items()}
    for name, rows in (("word for word", exact), ("nearly", near)):
        typer.echo(f"{len(rows)} of {found.test_rows} test prompts stand {name} in {found.train_rows} training rows")
        for test_id, hits in list(rows.items())[: overlaps.SHOWN_ROWS]:
            typer.echo(f"  {test_id}: rows {', '.join(hits[:SHOWN_ROWS])}")
        if len(rows) > overlaps.SHOWN_ROWS:
            typer.echo(f"  and {len(rows) - overlaps.SHOWN_ROWS} more (--json FILE has them all)")
    if json_out is not None:
        write_json(json_out, found.facts())
        typer.echo(f"written: {json_out}")


def card_text(what: str) -> str:
    """The card of a set in Markdown."""
    if what == "bundled":
        from multitask_bench.study.bundled_card import bundled_card

        return bundled_card()
    path = Path(what) / "README.md"
    if not path.is_file():
        raise DataError(
            f"{what}: no README.md; a card is of 'bundled' or of a folder that mtb data build safety wrote."
        )
    text = read_text(path)
    return text.split("---\n", 2)[-1].lstrip() if text.startswith("---\n") else text
