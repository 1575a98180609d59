"""`mtb guard`: a guard over a file of requests, or over the stored logs of a run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from multitask_bench.guards import GuardSpec, Verdict

COLUMNS = ("flagged", "score", "categories", "guard_reason")


def guard(
    file: Annotated[
        Path,
        typer.Argument(metavar="FILE|RUN", help="csv, jsonl or parquet with a column prompt; or a run."),
    ],
    guard_name: Annotated[str, typer.Option("--guard", help="Name of the guard; see mtb list guards.")] = "linear",
    out: Annotated[
        Path | None, typer.Option("--out", help="The file to write; csv, jsonl or parquet by its name.")
    ] = None,
    on: Annotated[
        str | None, typer.Option("--on", help="What it reads: prompt, response or both.", show_default="prompt")
    ] = None,
    threshold: Annotated[
        float | None, typer.Option("--threshold", help="Score from which an item is stopped.", show_default="its own")
    ] = None,
    model: Annotated[str | None, typer.Option("--model", help="Model of guards that have one.")] = None,
    revision: Annotated[str | None, typer.Option("--revision", help="Commit of a hub model.")] = None,
    base_url: Annotated[str | None, typer.Option("--base-url", help="Server of openai_moderation.")] = None,
    weights: Annotated[str | None, typer.Option("--weights", help="Of linear: what mtb guards train wrote.")] = None,
    policy: Annotated[Path | None, typer.Option("--policy", help="Of policy: a file that holds it.")] = None,
    allow_remote: Annotated[
        list[str] | None, typer.Option("--allow-remote", help="Provider or host that may be sent the texts.")
    ] = None,
    to_logs: Annotated[
        bool, typer.Option("--to-logs", help="With RUN: add the verdicts to its logs, beside the scores there.")
    ] = False,
) -> None:
    """Screen the requests in FILE, or those in the logs of RUN, and write OUT.

    Of FILE it reads prompt and, for --on response or both, response, and adds the columns flagged (1, 0,
    or empty where the guard had no verdict, which is never a pass), score, categories and guard_reason.
    Every other column passes through; rows keep order and number. OUT is replaced.

    Of RUN it reads the stored logs, with no model of the study and no key, and writes one row an answer
    without texts, benign task rows among them (column task). It prints what gets past model and guard, and
    what the guard stops of the task rows. The logs change only with --to-logs: then the verdicts stand there
    as scores beside the old ones, and running it again adds what is missing. A study that names guards
    has them in its logs already.

      mtb guard requests.csv --guard linear --out screened.csv

      mtb guard runs/quickstart --guard linear --out verdicts.parquet
    """
    from multitask_bench.errors import ConfigError
    from multitask_bench.records import TABLE_SUFFIXES, read_text
    from multitask_bench.study.guarding import made

    settings = {
        "on": on,
        "threshold": threshold,
        "model": model,
        "revision": revision,
        "base_url": base_url,
        "weights": weights,
        "policy": read_text(policy).strip() if policy else None,
    }
    spec = made(guard_name, settings)  # a misspelt name is told before a file is read
    if out is not None and out.suffix.lower() not in TABLE_SUFFIXES:
        raise ConfigError(f"{out}: write to one of {', '.join(TABLE_SUFFIXES)}.")
    allowed = tuple(allow_remote or ())
    if file.is_dir():
        _screen_run(file, spec, out, allowed, to_logs=to_logs)
    elif to_logs:
        raise ConfigError(f"--to-logs goes with a run folder; {file} is none.")
    elif out is None:
        raise ConfigError("--out is missing: the file to write; csv, jsonl or parquet by its name.")
    else:
        _screen_file(file, spec, out, allowed)


def _screen_file(file: Path, spec: GuardSpec, out: Path, allowed: tuple[str, ...]) -> None:
    from multitask_bench.errors import DataError
    from multitask_bench.records import read_table, write_table
    from multitask_bench.study.guarding import opened, screened, text_of, verdict_fields

    needed = ("prompt",) if spec.on == "prompt" else ("prompt", "response")
    rows = read_table(file, needed=needed)
    for column in COLUMNS:
        if column in rows[0]:
            raise DataError(f"{file}: it has a column '{column}' already; rename it first.")
    texts = [text_of(spec, str(row["prompt"] or ""), _text(row.get("response"))) for row in rows]
    found = screened(opened(spec, allowed=allowed, texts=len(set(texts))), texts)
    verdicts = [found[text] for text in texts]
    write_table(out, [{**row, **verdict_fields(v)} for row, v in zip(rows, verdicts, strict=True)])
    typer.echo(_counts(spec, verdicts))
    typer.echo(f"written: {out}")


def _text(value: Any) -> str | None:
    return None if value is None else str(value)


def _counts(spec: GuardSpec, verdicts: Sequence[Verdict]) -> str:
    stopped = sum(v.flagged is True for v in verdicts)
    silent = sum(v.flagged is None for v in verdicts)
    left = f", {silent} without a verdict" if silent else ""
    passed = len(verdicts) - stopped - silent
    return f"{spec.name} ({spec.config_hash}), {len(verdicts)} rows: {stopped} stopped, {passed} let pass{left}"


def _screen_run(run: Path, spec: GuardSpec, out: Path | None, allowed: tuple[str, ...], *, to_logs: bool) -> None:
    from multitask_bench.records import write_table
    from multitask_bench.study.folder import alone
    from multitask_bench.study.guard_logs import add_verdicts
    from multitask_bench.study.guarding import (
        opened,
        residual,
        screened,
        task_stops,
        task_texts,
        task_verdict_rows,
        texts_of,
        verdict_rows,
    )
    from multitask_bench.study.ledger import read_logs

    ledger = read_logs(run / "logs")
    texts, of_tasks = texts_of(spec, ledger.entries), task_texts(spec, ledger)
    every = [*texts, *of_tasks]
    found = screened(opened(spec, allowed=allowed, texts=len(set(every))), every)
    verdicts = [found[text] for text in texts]
    if out is not None:
        write_table(out, [*verdict_rows(ledger, verdicts), *task_verdict_rows(ledger, found, spec)])
    typer.echo(_counts(spec, verdicts))
    for row in residual(ledger, verdicts, spec):
        typer.echo(_residual_line(row))
    if of_tasks:
        typer.echo(f"benign task rows: {_counts(spec, [found[text] for text in of_tasks])}")
    for row in task_stops(ledger, found, spec):
        typer.echo(_task_line(row))
    if to_logs:
        with alone(run):
            added = add_verdicts(run, spec, found)
        typer.echo(f"{added.name}: {added.samples} scores added to {added.logs} logs")
        if added.failed:
            typer.echo(f"{added.failed} samples got no answer from it; run the same command again to ask for those")
        if added.samples:
            typer.echo(f"report it with: mtb report {run}")
    if out is not None:
        typer.echo(f"written: {out}")


def _residual_line(row: dict[str, Any]) -> str:
    asked = f"{row['test_template']}, system {row['test_system'][:16]}, {row['source']}"
    return (
        f"  {row['arm']:<24} {row['form']:<16} ({asked}) n={row['n']:<5} answered {_rate(row['answered'])}, "
        f"past model and guard {_rate(row['residual'])}; twins stopped {_rate(row['twins_stopped'])}"
    )


def _task_line(row: dict[str, Any]) -> str:
    asked = f"{row['test_template']}, system {row['test_system'][:16]}, task rows"
    silent = f", {row['without_verdict']} without a verdict" if row["without_verdict"] else ""
    return f"  {row['arm']:<24} {row['task']:<16} ({asked}) n={row['n']:<5} stopped {_rate(row['stopped'])}{silent}"


def _rate(rate: dict[str, Any]) -> str:
    if rate["value"] is None:
        return "-"
    return f"{rate['value']:.1%} [{rate['low']:.1%}, {rate['high']:.1%}]"
