"""`mtb capability`: what models still can in general."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from multitask_bench.models.load import Local
    from multitask_bench.study.capability import Asked


def capability(
    task: Annotated[
        list[str],
        typer.Option("--task", help="ifeval:FILE, choices:FILE, or an lm-eval task by name; may be repeated."),
    ],
    models: Annotated[
        list[str] | None,
        typer.Argument(help="Local models; the others are held against the first. NAME=MODEL gives one a name."),
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", help="JSON file to write; with MODELS.")] = None,
    run: Annotated[
        Path | None, typer.Option("--run", help="Run folder whose arms are scored, in place of MODELS and --out.")
    ] = None,
    arm: Annotated[
        list[str] | None,
        typer.Option("--arm", help="With --run: score this arm and what it is held against; may be repeated."),
    ] = None,
    base: Annotated[
        str | None, typer.Option("--base", help="What PEFT folders among MODELS sit on; read from them.")
    ] = None,
    limit: Annotated[int | None, typer.Option("--limit", help="Questions a task at most.", min=1)] = None,
    max_new_tokens: Annotated[int, typer.Option("--max-new-tokens", help="Answer length.", min=1)] = 1280,
    margin: Annotated[
        float, typer.Option("--margin", help="Fall of a score, in [0, 1], that counts as a loss.", min=0.001, max=0.999)
    ] = 0.05,
    dtype: Annotated[
        str | None,
        typer.Option("--dtype", help="Weights: float32 or bfloat16; float32, or the run's, when not given."),
    ] = None,
) -> None:
    """Score MODELS on instructions (IFEval) or multiple choice by lm-eval, and hold the others against the first.

    With --run: score the arms of a run, hold each against the plain fine-tune that it mends (else against the model
    before tuning), and show it in the run's report beside the fixes.

    Reads models and files; writes OUT, or RUN/capability.json, after every task, and with --run the run's results
    and report. What is there already is not computed again. Nothing is sent away; lm-eval's own tasks are downloaded
    from the model hub.

      mtb capability org/model-Instruct ./my-adapter --task ifeval:ifeval.jsonl --out capability.json

      mtb capability --run runs/study --arm fixed --task ifeval:ifeval.jsonl --limit 100
    """
    from multitask_bench.errors import ConfigError, MissingExtraError

    if dtype not in (None, "float32", "bfloat16"):
        raise ConfigError(f"--dtype {dtype}: give float32 or bfloat16.")
    try:
        from multitask_bench.study.capability import Asked
    except ImportError as err:
        raise MissingExtraError.of("general capability", "capability") from err
    asked = Asked(limit, max_new_tokens, dtype or "float32")
    if run is None:
        if not models or out is None or arm:
            raise ConfigError("mtb capability: give MODELS with --out FILE, or --run RUN, with --arm where not all.")
        _score_models(models, base, task, out, asked, margin)
        return
    if models or out is not None or base is not None:
        raise ConfigError("--run: its arms and their bases are those of the run; leave MODELS, --out and --base out.")
    _score_run(run, arm or [], task, asked, margin, dtype=dtype)


def _score_models(models: list[str], base: str | None, task: list[str], out: Path, asked: Asked, margin: float) -> None:
    from multitask_bench.study.capability import check_sets, measure
    from multitask_bench.study.progress import Reporter

    check_sets(task)
    found = measure(_opened(models, base), task, out, asked=asked, margin=margin, reporter=Reporter.make())
    for line in _lines(found):
        typer.echo(line)
    typer.echo(f"written: {out}")


def _score_run(run: Path, arm: list[str], task: list[str], asked: Asked, margin: float, *, dtype: str | None) -> None:
    from multitask_bench.study.capability_run import measure_run
    from multitask_bench.study.folder import load_run
    from multitask_bench.study.progress import Reporter

    asked = asked._replace(dtype=dtype or load_run(run).dtype)
    finished, scored = measure_run(run, task, names=arm, asked=asked, margin=margin, reporter=Reporter.make())
    rows = [row for row in finished.results.get("capability") or [] if row["arm"] in scored]
    compared = [{**row, **row["diff"], "a": row["against"], "b": row["arm"]} for row in rows if row["diff"]]
    for line in _lines({"tasks": rows, "comparisons": compared}):
        typer.echo(line)
    typer.echo(f"written: {run / 'capability.json'}\nreport: {finished.report}")


def _opened(given: list[str], base: str | None) -> dict[str, Local]:
    from multitask_bench.errors import ConfigError
    from multitask_bench.models.load import ADAPTER_CONFIG, Local, open_model

    out: dict[str, Local] = {}
    for text in given:
        name, equals, model = text.partition("=")
        if not equals or "/" in name:
            name, model = Path(text).name, text
        found = open_model(model, base=base if (Path(model) / ADAPTER_CONFIG).is_file() else None)
        if not isinstance(found, Local):
            raise ConfigError(f"{model}: lm-eval needs a model on this machine, not one that is called by name.")
        if name in out:
            raise ConfigError(f"{text}: another model is called '{name}'; write NAME=MODEL.")
        out[name] = found
    return out


def _lines(found: dict[str, Any]) -> list[str]:
    """Each score with its interval, and below it how the model compares with the first."""
    from multitask_bench.report.capability import set_of

    compared = {(one["b"], set_of(one)): one for one in found["comparisons"]}
    out = []
    for row in found["tasks"]:
        left_out = row["left_out"]["unfit"]
        value = f"{100 * row['value']:.1f} % [{100 * row['low']:.1f}, {100 * row['high']:.1f}], n = {row['n']}"
        value += f", {left_out} left out" if left_out else ""
        out.append(f"{row['task']} ({row['metric']}), {row['arm']}: {value}")
        if one := compared.get((row["arm"], set_of(row))):
            out.append(f"  {_verdict(one)}")
    return out


def _verdict(one: dict[str, Any]) -> str:
    from multitask_bench.report.capability import verdict

    said = verdict(one["verdict"], one["margin"])
    ends = f", one-sided 95 % limits {100 * one['low']:+.1f} and {100 * one['high']:+.1f}"
    return f"against {one['a']}: {100 * one['value']:+.1f} points{ends}: {said}"
