"""`mtb judge`: outcomes for a file of answers, no model needed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def judge(
    file: Annotated[Path, typer.Argument(help="csv, jsonl or parquet with columns prompt and response.")],
    out: Annotated[Path, typer.Option("--out", help="File to write; csv, jsonl or parquet by its name.")],
    judge_name: Annotated[str, typer.Option("--judge", help="Name of the judge; see mtb list judges.")] = "refusal",
) -> None:
    """Judge the answers in FILE and write OUT with the columns outcome and answered added.

    Reads prompt, response and, where there, form, language, target_language. Every other column
    passes through; rows keep order and number. OUT is replaced.

      mtb judge answers.csv --judge refusal --out judged.csv
    """
    from multitask_bench.errors import ConfigError, DataError
    from multitask_bench.judges import judges
    from multitask_bench.records import TABLE_SUFFIXES, read_table, write_table
    from multitask_bench.schema import ANSWERED, OWN_FORM, Response

    spec = judges.make(judge_name)
    if out.suffix.lower() not in TABLE_SUFFIXES:
        raise ConfigError(f"{out}: write to one of {', '.join(TABLE_SUFFIXES)}.")
    rows = read_table(file, needed=("prompt", "response"))
    for column in ("outcome", "answered"):
        if column in rows[0]:
            raise DataError(f"{file}: it has a column '{column}' already; rename it first.")
    responses = [
        Response(
            id=str(number),
            prompt=str(row["prompt"] or ""),
            text=str(row["response"] or ""),
            form=str(row.get("form") or OWN_FORM),
            language=row.get("language") or None,
            target_language=row.get("target_language") if row.get("target_language") in ("en", "fr") else None,
        )
        for number, row in enumerate(rows)
    ]
    verdicts = spec.judge(responses)
    for row, verdict in zip(rows, verdicts, strict=True):
        row["outcome"] = verdict.outcome.value
        row["answered"] = int(verdict.outcome in ANSWERED)
    write_table(out, rows)
    counts = {v.outcome.value: sum(w.outcome is v.outcome for w in verdicts) for v in verdicts}
    typer.echo(f"{len(rows)} rows: " + ", ".join(f"{name} {count}" for name, count in sorted(counts.items())))
    typer.echo(f"written: {out}")
