"""`mtb run`: a whole study."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer


def run(
    study: Annotated[Path, typer.Argument(help="The study's YAML file.")],
    out: Annotated[Path | None, typer.Option("--out", help="Run folder; runs/NAME when not given.")] = None,
    settings: Annotated[list[str] | None, typer.Option("--set", help="key.path=value, such as train.steps=40.")] = None,
    allow_remote: Annotated[
        list[str] | None, typer.Option("--allow-remote", help="Provider that harmful probes may be sent to.")
    ] = None,
    intents: Annotated[
        str | None,
        typer.Option(
            "--intents", help="A second, held-out source of requests: a named list or a file (probes.held_out)."
        ),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print steps and estimates; run nothing.")] = False,
    gpu: Annotated[str, typer.Option("--gpu", help="With --dry-run: the GPU to estimate for.")] = "A100-80GB",
) -> None:
    """Run the study in STUDY and write a run folder with logs, results.json and report.html.

    Reads the YAML file and the models it names. A second run does only what is missing, so a
    stopped run is continued by the same command.

      mtb run studies/quickstart.yaml
    """
    from multitask_bench.cli._show import show_dry_run, show_results
    from multitask_bench.study.config import load_study
    from multitask_bench.study.folder import run_study
    from multitask_bench.study.progress import Reporter

    held_out = [f"probes.held_out={{source: {json.dumps(intents)}}}"] if intents else []
    resolved = load_study(study, overrides=[*(settings or ()), *held_out])
    folder = out or Path("runs") / resolved.name
    if dry_run:
        show_dry_run(resolved, folder, gpu=gpu)
        return
    finished = run_study(resolved, folder, reporter=Reporter.make(), allowed=tuple(allow_remote or ()))
    show_results(finished, folder)
