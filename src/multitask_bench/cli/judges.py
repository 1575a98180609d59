"""`mtb judges`: a judge held against human labels, and the card that comes of it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

if TYPE_CHECKING:
    from multitask_bench.data.labels import Labelled, LabelledAnswer
    from multitask_bench.schema import Judgment, Response

app = typer.Typer(no_args_is_help=True, help="Measure a judge against labels; see `mtb list judges` for the names.")

SLICES = ("form", "language", "stage", "label")
"""By what a card's rates are also given, besides the model that answered."""


@app.callback()
def _group() -> None:
    pass


@app.command("measure")
def measure(
    labels: Annotated[
        str, typer.Option("--labels", help="xstest or harmbench-val (with --file), or a csv, jsonl or parquet file.")
    ],
    file: Annotated[Path | None, typer.Option("--file", help="The public set on this machine: file or folder.")] = None,
    judge_name: Annotated[str, typer.Option("--judge", help="Name of the judge; see mtb list judges.")] = "refusal",
    out: Annotated[
        Path | None, typer.Option("--out", help="Write the card here and not to the cards that reports read.")
    ] = None,
    words: Annotated[
        int | None, typer.Option("--words", min=1, help="Cut the answers to so many words (36 are about 48 tokens).")
    ] = None,
    model: Annotated[
        str | None,
        typer.Option("--model", help="The judge's model: an Inspect name for rubric, else a folder or a hub id."),
    ] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="Any other setting of the judge, key=value; may be repeated.")
    ] = None,
    allow_remote: Annotated[list[str] | None, typer.Option("--allow-remote", help="Provider to allow.")] = None,
) -> None:
    """Hold a judge against labelled answers; print its rates with n and intervals, and write its card.

    A labels file has the columns prompt, response and label, and optional id, source_model, form,
    language, target_language, options, stage and labeller. A label is an outcome (complied, partial,
    refused, off_task, incoherent) or 1 and 0: was what was asked for given? Reports show the card
    where the judge's configuration is the one measured. Running it again replaces the set's rows.

      mtb judges measure --labels xstest --file data/xstest
      mtb judges measure --labels my-labels.jsonl --judge refusal --out card.json
    """
    from multitask_bench.cli.judge import opened, settings_of, unjudged
    from multitask_bench.data.labels import read_labels
    from multitask_bench.judges._card import keep_card
    from multitask_bench.records import write_json

    chosen = settings_of(judge_name, {"model": model}, settings or ())
    labelled = read_labels(labels, file)
    spec, verb = opened(judge_name, chosen, tuple(allow_remote or ()), answers=len(labelled.rows))
    responses = [cut(row, words) for row in labelled.rows]
    verdicts = unjudged(spec, responses, verb(responses))
    made = card_of(
        labelled, verdicts, judge=(spec.name, spec.config_hash), words=words, measures_harm=spec.measures_harm
    )
    for line in _lines(made):
        typer.echo(line)
    if labelled.dropped:
        typer.echo("left out: " + ", ".join(f"{count} on {why}" for why, count in labelled.dropped.items()))
    if out is not None:
        write_json(out, made)
    typer.echo(f"written: {out or keep_card(made)}")


def cut(row: LabelledAnswer, words: int | None) -> Response:
    """What a judge sees of a labelled answer, cut to ``words``."""
    response = row.as_response()
    parts = response.text.split(" ")
    if words is None or len(parts) <= words:
        return response
    return response.model_copy(update={"text": " ".join(parts[:words]), "truncated": True})


class _Pair(NamedTuple):
    """A labelled answer with the judge's word on it."""

    row: LabelledAnswer
    said: Judgment


def card_of(
    labelled: Labelled,
    verdicts: Sequence[Judgment],
    *,
    judge: tuple[str, str],
    words: int | None = None,
    measures_harm: bool = False,
) -> dict[str, Any]:
    """The card of ``judge`` (name, configuration hash): rates per source model, over all, and by form, language, stage.

    With outcomes as labels a positive is a full refusal; binary labels know only whether something was
    given, and there a positive is an answer. Rows that the judge left unscored are counted, not rated.
    """
    from multitask_bench.judges._card import gaps

    pairs = [_Pair(row, said) for row, said in zip(labelled.rows, verdicts, strict=True)]
    models = _grouped(pairs, "source_model")
    named = {"set": labelled.name, "truncated_words": words}
    rates = partial(_rates, measures_harm=measures_harm)
    measured = [{**named, "model": name, **rates(group)} for name, group in models if name is not None]
    if len(measured) != 1:
        measured.append({**named, "model": "all", **rates(pairs)})
    slices = [
        {**named, "by": by, "value": value, **rates(group)}
        for by in SLICES
        for value, group in _grouped(pairs, by)
        if value is not None
    ]
    return {
        "judge": judge[0],
        "config_hash": judge[1],
        "measured": measured,
        "slices": slices,
        "labelled_by": labelled.labelled_by,
        "not_measured": gaps(slices),
        "labels_sha256": {labelled.name: labelled.sha256},
        "how": f"mtb judges measure --labels {labelled.name}" + (f" --words {words}" if words else ""),
    }


def _grouped(pairs: Sequence[_Pair], by: str) -> list[tuple[str | None, list[_Pair]]]:
    groups: dict[str | None, list[_Pair]] = defaultdict(list)
    for pair in pairs:
        value = (pair.row.outcome and pair.row.outcome.value) if by == "label" else getattr(pair.row, by)
        groups[value].append(pair)
    return sorted(groups.items(), key=lambda item: item[0] or "")


def _rates(pairs: Sequence[_Pair], *, measures_harm: bool) -> dict[str, Any]:
    """Accuracy, sensitivity, specificity and kappa, with intervals that allow for prompts that recur.

    A judge of harm is held against binary labels by its `complied`, which is its word for harm.
    """
    from multitask_bench.schema import ANSWERED, UNJUDGED, Outcome

    judged = [pair for pair in pairs if pair.said.outcome not in UNJUDGED]
    outcomes = all(pair.row.outcome is not None for pair in pairs)

    def answered_both(pair: _Pair) -> tuple[bool, bool]:
        return pair.row.answered, pair.said.outcome in ANSWERED

    def refused_both(pair: _Pair) -> tuple[bool, bool]:
        return pair.row.outcome is Outcome.REFUSED, pair.said.outcome is Outcome.REFUSED

    def harmful_both(pair: _Pair) -> tuple[bool, bool]:
        return pair.row.answered, pair.said.outcome is Outcome.COMPLIED

    positive, both = ("refused", refused_both) if outcomes else ("answered", answered_both)
    if measures_harm and not outcomes:
        positive, both = "harmful", harmful_both
    out: dict[str, Any] = {"n": len(pairs), "unjudged": len(pairs) - len(judged), "positive": positive}
    out |= _against(judged, both)
    # `answered` is what reports correct for, whatever the labels are.
    out["answered"] = _against(judged, answered_both)
    return out


def _against(pairs: Sequence[_Pair], both: Callable[[_Pair], tuple[bool, bool]]) -> dict[str, Any]:
    from multitask_bench.stats.agreement import cohen_kappa
    from multitask_bench.stats.rates import clustered_rate

    found = [(pair.row.prompt, *both(pair)) for pair in pairs]

    def share(kept: Callable[[bool], bool]) -> Any:
        clusters: dict[str, list[bool]] = defaultdict(list)
        for prompt, truth, said in found:
            if kept(truth):
                clusters[prompt].append(truth == said)
        return clustered_rate(list(clusters.values()))

    kappa = cohen_kappa([str(truth) for _, truth, _ in found], [str(said) for _, _, said in found])
    return {
        "accuracy": share(lambda _: True),
        "sensitivity": share(lambda truth: truth),
        "specificity": share(lambda truth: not truth),
        "kappa": {"value": kappa.value, "low": kappa.low, "high": kappa.high, "n": kappa.n},
        "counts": {
            "hits": sum(truth and said for _, truth, said in found),
            "positives": sum(truth for _, truth, _ in found),
            "cleared": sum(not truth and not said for _, truth, said in found),
            "negatives": sum(not truth for _, truth, _ in found),
        },
    }


RATES = ("accuracy", "sensitivity", "specificity", "kappa")


def _lines(made: dict[str, Any]) -> list[str]:
    out = [f"judge {made['judge']} ({made['config_hash']}); labels: {made['labelled_by']}"]
    for row in made["measured"]:
        cut = f", cut to {row['truncated_words']} words" if row["truncated_words"] else ""
        left = f", {row['unjudged']} unjudged" if row["unjudged"] else ""
        out.append(f"{row['set']} {row['model']}{cut}: n={row['n']}{left}; positive: {row['positive']}")
        out += [f"  {name:<12} {_shown(row[name])}" for name in RATES]
    for row in made["slices"]:
        group = f"labelled {row['value']}" if row["by"] == "label" else f"{row['by']} {row['value']}"
        out.append(f"{group}: accuracy {_shown(row['accuracy'])}")
    return [*out, "not measured: " + ("; ".join(made["not_measured"]) or "nothing that a card knows of")]


def _shown(found: Any) -> str:
    got = found if isinstance(found, dict) else found.model_dump()
    if got["value"] is None:
        return f"undefined (n={got['n']})"
    ends = f" [{got['low']:.3f}, {got['high']:.3f}]" if got["low"] is not None else ""
    return f"{got['value']:.3f}{ends} (n={got['n']})"
