"""`mtb probe`: one model, asked and judged."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def probe(
    model: Annotated[
        str, typer.Argument(help="Model folder, PEFT folder, GGUF file, hub id, demo, or an Inspect model.")
    ],
    out: Annotated[Path, typer.Option("--out", help="Run folder to write.")],
    adapter: Annotated[
        list[str] | None, typer.Option("--adapter", help="PEFT folder on MODEL; may be repeated.")
    ] = None,
    prompts: Annotated[Path | None, typer.Option("--prompts", help="Your own prompts (csv, jsonl, parquet).")] = None,
    form: Annotated[list[str] | None, typer.Option("--form", help="Only this form; may be repeated.")] = None,
    template: Annotated[str, typer.Option("--template", help="native or alpaca.")] = "native",
    system: Annotated[str, typer.Option("--system", help="none, safety, or a file with the system prompt.")] = "none",
    intents: Annotated[int | None, typer.Option("--intents", help="How many test intents; all when not given.")] = None,
    judge: Annotated[str, typer.Option("--judge", help="Name of the judge.")] = "refusal",
    allow_remote: Annotated[list[str] | None, typer.Option("--allow-remote", help="Provider to allow.")] = None,
) -> None:
    """Ask MODEL (and adapters on it) the probes, judge the answers, write a run folder.

    Without --adapter the model alone is asked; with adapters, the model and each of them. A
    second run with the same --out asks only what is missing.

      mtb probe demo --intents 10 --out runs/demo
    """
    from multitask_bench.cli._show import show_results
    from multitask_bench.cli._study import given_arm, system_option
    from multitask_bench.study.config import ProbeSet, Study
    from multitask_bench.study.folder import run_study
    from multitask_bench.study.parsing import parsed
    from multitask_bench.study.progress import Reporter

    systems = (system_option(system),)
    arms = [given_arm("base", "base", model, template=template, systems=systems)]
    for number, path in enumerate(adapter or (), start=1):
        arms.append(given_arm(f"adapter-{number}", "tuned", path, base=model, template=template, systems=systems))
    settings: dict[str, object] = {"file": str(prompts) if prompts else None, "intents": intents}
    if form:
        settings["forms"] = form
    probes = parsed(settings, ProbeSet, where="probe")
    study = Study(name=out.name, model=model, arms=tuple(arms), probes=probes, judge=judge)
    finished = run_study(study, out, reporter=Reporter.make(), allowed=tuple(allow_remote or ()))
    show_results(finished, out)
