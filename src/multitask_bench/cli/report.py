"""`mtb report`: the report of a run, anew from its logs; or of counts that were published elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from multitask_bench.report.counts import Counts, Ours
    from multitask_bench.study.folder import Finished


def report(
    run: Annotated[Path | None, typer.Argument(help="A run folder.", show_default=False)] = None,
    counts: Annotated[
        str | None, typer.Option("--counts", help="CSV file of answered-counts, or 'published': the authors' own.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="With --counts: folder for counts.md and counts.json.")
    ] = None,
    share: Annotated[
        Path | None, typer.Option("--share", help="New folder for results, redacted report and hashes.")
    ] = None,
    export: Annotated[
        Path | None, typer.Option("--export", help="Folder for every table (md, tex, csv) and figure (svg, png, pdf).")
    ] = None,
    show_responses: Annotated[
        bool, typer.Option("--show-responses", help="Put harmful prompts and answers into the report.")
    ] = False,
    judge: Annotated[
        str | None,
        typer.Option("--judge", help="Of the judges in the logs, the one to report, as NAME or NAME@HASH."),
    ] = None,
) -> None:
    """Read the logs in RUN and write its results.json, results.parquet and report.html again.

    Needs no model and no key. Without --show-responses harmful prompts and answers are redacted. The
    outcomes are those of the study's own judge unless --judge names one that mtb judge RUN added.

    With --counts, totals and intervals of counts from elsewhere, with RUN beside them. Columns of the
    file: finetune_task, train_template, test_system (or calibration), then a column for each form and
    total_n; or a row for each form: form, answered, n, total_n. On a pipe the table is Markdown.

      mtb report runs/quickstart --share for-my-boss

      mtb report runs/paper-tiny --export paper-tiny

      mtb report runs/quickstart --judge rubric

      mtb report --counts published

      mtb report runs/quickstart --counts published --out beside
    """
    from multitask_bench.errors import ConfigError

    if run is None and (counts is None or judge is not None):
        what = "give a run folder, or --counts FILE."
        raise ConfigError(what if judge is None else "--judge says which scores of a run are read; give a run folder.")
    if counts is None and out is not None:
        raise ConfigError("--out goes with --counts; the report of a run is written into its folder.")
    if show_responses and share is not None:
        raise ConfigError("--share never contains answers; leave --show-responses out.")
    if export is not None and (share is not None or counts is not None):
        raise ConfigError("--export goes alone: it writes the tables and figures of one run.")
    if counts is not None:
        if share is not None:
            raise ConfigError("--share goes without --counts; use --out for the tables of counts.")
        if run is None and show_responses:
            raise ConfigError("--show-responses needs a run folder; counts hold no answers.")
        _report_counts(counts, run, out, show_responses=show_responses, judge=judge)
        return
    assert run is not None, "checked above"
    from multitask_bench.cli._show import show_results
    from multitask_bench.study.folder import share as share_run
    from multitask_bench.study.folder import sum_up

    if share is not None:
        names = share_run(run, share, judge=judge)
        typer.echo(f"written: {', '.join(str(share / name) for name in names)}")
        return
    finished = sum_up(run, show_responses=show_responses, judge=judge)
    show_results(finished, run)
    if export is not None:
        _export(finished, export)


def _export(finished: Finished, folder: Path) -> None:
    from multitask_bench.report.export import export

    names = export(finished.results, folder)
    typer.echo(f"written: {len(names)} files in {folder / 'tables'} and {folder / 'figures'}")


def _report_counts(name: str, run: Path | None, out: Path | None, *, show_responses: bool, judge: str | None) -> None:
    from multitask_bench.errors import ConfigError
    from multitask_bench.records import write_json, write_text
    from multitask_bench.report.counts import document, markdown, read_counts

    counts = read_counts(name)
    if out is not None and out.exists() and not out.is_dir():
        raise ConfigError(f"{out}: is a file; give a folder with --out.")
    ours: list[Ours] | None = None
    asked: list[str] = []
    if run is not None:
        from multitask_bench.cli._show import show_results
        from multitask_bench.study.folder import sum_up

        finished = sum_up(run, show_responses=show_responses, judge=judge)
        ours, asked = _ours(counts, finished, run)
        show_results(finished, run)
    _show(counts, ours, asked)
    if out is not None:
        write_text(out / "counts.md", markdown(counts, ours, asked))
        write_json(out / "counts.json", document(counts, ours))
        typer.echo(f"written: {out / 'counts.md'}, {out / 'counts.json'}")


def _ours(counts: Counts, finished: Finished, run: Path) -> tuple[list[Ours], list[str]]:
    from multitask_bench.errors import DataError
    from multitask_bench.records import read_table
    from multitask_bench.report._select import forms
    from multitask_bench.report.counts import pairs_of
    from multitask_bench.study.compare import ours_of

    found = ours_of(finished.results, read_table(run / "results.parquet"), counts.forms)
    if not pairs_of(counts, found):
        tasks = ", ".join(dict.fromkeys(f"{g.task} {g.asked}" for g in counts.groups))
        raise DataError(
            f"{run}: no arm of it was tuned and asked as in {counts.title} ({tasks}); leave RUN out to see the counts."
        )
    return found, forms(finished.results)


def _show(counts: Counts, ours: list[Ours] | None, asked: list[str]) -> None:
    from rich.console import Console

    from multitask_bench.report import counts as made

    console = Console(highlight=False)
    if not console.is_terminal:
        text = made.markdown(counts) if ours is None else made.beside_markdown(counts, ours, asked)
        typer.echo(text, nl=False)
        return
    tables: list[Any]
    if ours is None:
        tables, notes = [made.counts_table(counts, short=True)], made.counts_notes(counts)
    else:
        tables, notes = made.beside_table(counts, ours, short=True), made.beside_notes(counts, ours, asked)
    console.print(made.as_console(tables, width=console.width))
    for note in ("", *notes):
        console.print(note, markup=False)
