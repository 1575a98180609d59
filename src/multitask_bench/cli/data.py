"""`mtb data`: build probe sets and safety sets, check a training file, find contamination, print cards."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Build, check, compare and describe data sets.")


@app.command("build")
def build(
    what: Annotated[str, typer.Argument(help="probes or safety.")] = "probes",
    out: Annotated[
        Path | None, typer.Option("--out", help="probes: a .jsonl, .csv or .parquet file; safety: a new folder.")
    ] = None,
    source: Annotated[
        str, typer.Option("--source", help="probes: bundled, a named list (mtb list sources), or a file of requests.")
    ] = "bundled",
    file: Annotated[
        Path | None, typer.Option("--file", help="A local copy of the named list, or of another's safety set.")
    ] = None,
    form: Annotated[list[str] | None, typer.Option("--form", help="Only this form; may be repeated.")] = None,
    count: Annotated[int | None, typer.Option("--count", min=1, help="probes: how many requests.")] = None,
    split: Annotated[str, typer.Option("--split", help="probes from bundled: test or validation.")] = "test",
    language: Annotated[
        list[str] | None, typer.Option("--language", help="probes from bundled: en (default) or fr; may be repeated.")
    ] = None,
    rewriter: Annotated[str | None, typer.Option("--rewriter", help="Inspect model that words each request.")] = None,
    translator: Annotated[str | None, typer.Option("--translator", help="Inspect model: into French.")] = None,
    kind: Annotated[
        str, typer.Option("--kind", help="safety: multitask, plain, authors or bianchi (these two with --file).")
    ] = "multitask",
    size: Annotated[int | None, typer.Option("--size", min=1, help="safety: pairs in all (2530).")] = None,
    share: Annotated[
        list[str] | None, typer.Option("--share", help="safety: FORM=WEIGHT, such as translation=2; may be repeated.")
    ] = None,
    french: Annotated[float, typer.Option("--french", help="safety: share asked and refused in French.")] = 0.25,
    twins: Annotated[bool, typer.Option("--twins/--no-twins", help="safety: with helpful answers to twins.")] = True,
    drop: Annotated[
        list[str] | None,
        typer.Option("--drop", help="authors, bianchi: leave out rows flagged duplicate, leak or not_a_refusal."),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="safety: which intents, templates and refusals.")] = 0,
    allow_remote: Annotated[list[str] | None, typer.Option("--allow-remote", help="Provider to allow.")] = None,
) -> None:
    """Build probes out of a list of harmful requests, or a safety set to mix into fine-tuning; write OUT.

    The same call gives the same bytes. Without a rewriter everything is made by template. Rows on
    sexual harm to minors are dropped and counted, in every source.

      mtb data build --source advbench --file harmful_behaviors.csv --out advbench.jsonl
      mtb data build safety --size 500 --share translation=2 --share code_generation=1 --out my-safety-set
    """
    from multitask_bench.cli import _data
    from multitask_bench.errors import ConfigError, UnknownNameError

    if what not in ("probes", "safety"):
        raise UnknownNameError.of("set", what, ("probes", "safety"))
    if out is None:
        raise ConfigError("--out is needed: a file for probes, a new folder for a safety set.")
    if what == "probes":
        asked = _data.ProbeRequest(source, file, tuple(form or ()), count, split, tuple(language or ("en",)))
        _data.build_probes(asked, out, rewriter=rewriter, translator=translator, allowed=tuple(allow_remote or ()))
    elif kind in ("authors", "bianchi"):
        _data.build_foreign(kind, file, out, drop=tuple(drop or ()))
    else:
        weights = _data.shares(share or [])
        settings = {"kind": kind, "size": size, "forms": weights, "french": french, "twins": twins, "seed": seed}
        _data.build_safety(settings, out)


@app.command("push")
def push(
    folder: Annotated[Path, typer.Argument(help="A folder that mtb data build safety wrote.")],
    repo: Annotated[str, typer.Argument(help="Hub name, such as me/my-safety-set.")],
    allow_remote: Annotated[list[str] | None, typer.Option("--allow-remote", help="Must hold 'hub'.")] = None,
) -> None:
    """Upload a safety set to the hub as a private data set. Needs --allow-remote hub.

    mtb data push my-safety-set me/my-safety-set --allow-remote hub
    """
    from multitask_bench.errors import RemoteError
    from multitask_bench.study.data_set import push as push_set

    if "hub" not in (allow_remote or ()):
        raise RemoteError(f"{folder} would leave this machine for the hub as {repo}. Allow it with --allow-remote hub.")
    push_set(folder, repo)
    typer.echo(f"uploaded: {repo} (private)")


@app.command("check")
def check(
    file: Annotated[Path, typer.Argument(help="Training rows: jsonl, json, csv or parquet, in any chat format.")],
    model: Annotated[str | None, typer.Option("--model", help="Count tokens and render with this model.")] = None,
    template: Annotated[str, typer.Option("--template", help="native or alpaca.")] = "native",
    system: Annotated[
        str | None, typer.Option("--system", help="The deployment's system prompt: none, safety, or a file.")
    ] = None,
    max_length: Annotated[int, typer.Option("--max-length", help="Tokens a row at most.")] = 1024,
    allow_flagged: Annotated[
        bool, typer.Option("--allow-flagged", help="Go on with more than 1 % answered harmful requests.")
    ] = False,
    json_out: Annotated[Path | None, typer.Option("--json", help="Write all findings here, for machines.")] = None,
) -> int:
    """Check a training FILE before any GPU time: format, roles, lengths, repetitions, refusals, harm, personal data.

    Prints findings with their rows, never the rows' text; with --model also one row as it is rendered, the part
    that the loss skips marked. Exit code 2 only for what would make training wrong.

      mtb data check train.jsonl --model ./my-model --system safety
    """
    from multitask_bench.cli import _data

    return _data.check_file(
        file,
        model=model,
        template=template,
        system=system,
        max_length=max_length,
        allow_flagged=allow_flagged,
        json_out=json_out,
    )


@app.command("overlap")
def overlap(
    train: Annotated[Path, typer.Argument(help="Training rows, or a folder of mtb data build safety.")],
    test: Annotated[str, typer.Argument(help="A named list, a file of probes or requests, or 'bundled'.")],
    file: Annotated[Path | None, typer.Option("--file", help="A local copy of the named list.")] = None,
    json_out: Annotated[Path | None, typer.Option("--json", help="Write every pair of rows here.")] = None,
) -> None:
    """Say how many TEST prompts stand in the TRAIN rows: word for word, and nearly (80 % of their word 4-grams).

    Exit code 0 whatever is found; the rows are named, not printed.

      mtb data overlap multitaskbench.csv advbench --file harmful_behaviors.csv
    """
    from multitask_bench.cli import _data

    _data.show_overlap(train, test, file=file, json_out=json_out)


@app.command("card")
def card(
    what: Annotated[str, typer.Argument(help="bundled, or a folder of mtb data build safety.")] = "bundled",
) -> None:
    """Print the card of a set as Markdown: counts, agreement, difficulty, licences, hashes, limits.

    mtb data card bundled
    """
    from multitask_bench.cli import _data

    typer.echo(_data.card_text(what), nl=False)
