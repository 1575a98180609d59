"""`mtb report`: the report of a run, anew from its logs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def report(
    run: Annotated[Path, typer.Argument(help="A run folder.")],
    share: Annotated[
        Path | None, typer.Option("--share", help="New folder for results, redacted report and hashes.")
    ] = None,
    show_responses: Annotated[
        bool, typer.Option("--show-responses", help="Put harmful prompts and answers into the report.")
    ] = False,
) -> None:
    """Read the logs in RUN and write its results.json, results.parquet and report.html again.

    Needs no model and no key. Without --show-responses harmful prompts and answers are redacted.

      mtb report runs/quickstart --share for-my-boss
    """
    from multitask_bench.cli._show import show_results
    from multitask_bench.errors import ConfigError
    from multitask_bench.study.folder import share as share_run
    from multitask_bench.study.folder import sum_up

    if share is not None:
        if show_responses:
            raise ConfigError("--share never contains answers; leave --show-responses out.")
        names = share_run(run, share)
        typer.echo(f"written: {', '.join(str(share / name) for name in names)}")
        return
    show_results(sum_up(run, show_responses=show_responses), run)
