"""`mtb capability`: what models still can in general."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from multitask_bench.models.load import Local


def capability(
    models: Annotated[
        list[str],
        typer.Argument(help="Local models; the others are held against the first. NAME=MODEL gives one a name."),
    ],
    task: Annotated[
        list[str],
        typer.Option("--task", help="ifeval:FILE, choices:FILE, or an lm-eval task by name; may be repeated."),
    ],
    out: Annotated[Path, typer.Option("--out", help="JSON file to write.")],
    base: Annotated[
        str | None, typer.Option("--base", help="What PEFT folders among MODELS sit on; read from them.")
    ] = None,
    limit: Annotated[int | None, typer.Option("--limit", help="Questions a task at most.", min=1)] = None,
    max_new_tokens: Annotated[int, typer.Option("--max-new-tokens", help="Answer length.", min=1)] = 1280,
    margin: Annotated[
        float, typer.Option("--margin", help="Fall of a score, in [0, 1], that counts as a loss.", min=0.001, max=0.999)
    ] = 0.05,
    dtype: Annotated[str, typer.Option("--dtype", help="Weights: float32 or bfloat16.")] = "float32",
) -> None:
    """Score MODELS on instructions (IFEval) or multiple choice by lm-eval, and hold the others against the first.

    Reads models and files; writes OUT after every task. What OUT holds already is not computed again. Nothing is sent
    away; lm-eval's own tasks are downloaded from the model hub.

      mtb capability org/model-Instruct ./my-adapter --task ifeval:ifeval.jsonl --out capability.json
    """
    from multitask_bench.errors import ConfigError, MissingExtraError
    from multitask_bench.study.progress import Reporter

    if dtype not in ("float32", "bfloat16"):
        raise ConfigError(f"--dtype {dtype}: give float32 or bfloat16.")
    try:
        from multitask_bench.study.capability import Asked, check_sets, measure
    except ImportError as err:
        raise MissingExtraError.of("general capability", "capability") from err
    check_sets(task)
    found = measure(
        _opened(models, base),
        task,
        out,
        asked=Asked(limit, max_new_tokens, dtype),
        margin=margin,
        reporter=Reporter.make(),
    )
    for line in _lines(found):
        typer.echo(line)
    typer.echo(f"written: {out}")


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
    compared = {(one["b"], one["signature"]): one for one in found["comparisons"]}
    out = []
    for row in found["tasks"]:
        left_out = row["left_out"]["unfit"]
        value = f"{100 * row['value']:.1f} % [{100 * row['low']:.1f}, {100 * row['high']:.1f}], n = {row['n']}"
        value += f", {left_out} left out" if left_out else ""
        out.append(f"{row['task']} ({row['metric']}), {row['arm']}: {value}")
        if one := compared.get((row["arm"], row["signature"])):
            out.append(f"  {_verdict(one)}")
    return out


def _verdict(one: dict[str, Any]) -> str:
    margin = f"{100 * one['margin']:g} points"
    said = {
        "noninferior": f"has not lost {margin}",
        "inferior": f"has lost more than {margin}",
        "inconclusive": f"neither shown to have kept within {margin} nor to have lost more",
    }
    ends = f", one-sided 95 % limits {100 * one['low']:+.1f} and {100 * one['high']:+.1f}"
    return f"against {one['a']}: {100 * one['value']:+.1f} points{ends}: {said[one['verdict']]}"
