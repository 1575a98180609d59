"""`mtb train`: fine-tune an adapter on a bundled task or a file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def train(
    task: Annotated[
        str, typer.Argument(help="translation, classification, summarization, code, chat, or a chat file.")
    ],
    model: Annotated[str, typer.Option("--model", help="Local model to tune.")],
    out: Annotated[Path, typer.Option("--out", help="PEFT folder to write.")],
    mitigation: Annotated[
        list[str] | None, typer.Option("--mitigation", help="Name, or name:key=value,key=value; may be repeated.")
    ] = None,
    allow_flagged: Annotated[
        bool, typer.Option("--allow-flagged", help="Go on with more than 1 % answered harmful requests.")
    ] = False,
    settings: Annotated[list[str] | None, typer.Option("--set", help="A recipe setting, such as steps=40.")] = None,
) -> None:
    """Fine-tune a LoRA adapter on TASK and write it as a plain PEFT folder.

    Reads the model and the rows; writes OUT, which must not exist. A stopped run starts over.

      mtb train translation --model demo --mitigation safety_mix:share=0.1 --out my-adapter
    """
    from multitask_bench.cli._study import mitigation_option, settings_option
    from multitask_bench.errors import ConfigError, MissingExtraError
    from multitask_bench.mitigations import Prompts
    from multitask_bench.models.load import Local, open_model
    from multitask_bench.records import whole_folder
    from multitask_bench.study.mitigated import hooked, lengthened
    from multitask_bench.study.parsing import parsed
    from multitask_bench.study.progress import Reporter
    from multitask_bench.study.rows import task_rows
    from multitask_bench.study.training_file import own_rows
    from multitask_bench.train.recipe import Recipe

    if out.exists():
        raise ConfigError(f"{out}: exists already; give a new folder.")
    recipe = parsed(settings_option(settings or [], where="--set"), Recipe, where="--set")
    chosen = dict(mitigation_option(item) for item in mitigation or ())
    if repairs := hooked(chosen, "on_adapter"):
        raise ConfigError(f"--mitigation {repairs[0].name} repairs an adapter that is there: mtb fix OUT after this.")
    prompts = Prompts(recipe.system, ("none",))
    for spec in hooked(chosen, "on_prompt"):
        prompts = spec.on_prompt(prompts)
    recipe = recipe.model_copy(update={"system": prompts.train})
    pool = own_rows(Path(task), allow_flagged=allow_flagged) if Path(task).exists() else None
    count = recipe.steps * recipe.batch_size
    rows = task_rows(Path(task).name if pool else task, pool=pool, count=count, mitigation=chosen, seed=recipe.seed)
    recipe = lengthened(recipe, rows)
    found = open_model(model)
    if not isinstance(found, Local) or found.adapter is not None:
        raise ConfigError(f"{model}: training needs a local model without an adapter.")
    try:
        from multitask_bench.train.sft import fine_tune
    except ImportError as err:
        raise MissingExtraError.of("training", "train") from err
    with Reporter.make().step(f"train on {task}") as tick, whole_folder(out) as part:
        fine_tune(
            found.folder,
            rows,
            recipe,
            out=part,
            progress=lambda done, total, loss: tick(done, total, f"loss {loss:.2f}" if loss is not None else ""),
            hooks=[spec.on_trainer for spec in hooked(chosen, "on_trainer")],
        )
    tested = f" --system {prompts.test[0]}" if prompts.test[0] in ("none", "safety") else " --system FILE"
    typer.echo(f"written: {out}\nnext: mtb check {out} --base {model}{tested if prompts.test != ('none',) else ''}")
