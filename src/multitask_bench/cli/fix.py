"""`mtb fix`: an adapter repaired without training."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from multitask_bench.models.load import Local


def fix(
    adapter: Annotated[Path, typer.Argument(help="PEFT folder of a LoRA adapter.")],
    aligned: Annotated[str, typer.Option("--aligned", help="The model that ADAPTER was trained on, as it refuses.")],
    unaligned: Annotated[str, typer.Option("--unaligned", help="The same model before its alignment: its base.")],
    out: Annotated[Path, typer.Option("--out", help="PEFT folder to write.")],
    method: Annotated[
        str, typer.Option("--method", help="safe_lora, safemerge, add; or NAME:key=value,key=value.")
    ] = "safe_lora",
    safety: Annotated[
        Path | None,
        typer.Option("--safety", help="PEFT folder of a safety adapter on ALIGNED (safemerge, add)."),
    ] = None,
    base: Annotated[
        str | None, typer.Option("--base", help="The model that ADAPTER sits on; must be the aligned one.")
    ] = None,
) -> None:
    """Repair ADAPTER without training and write it as a plain PEFT folder, in seconds.

    Reads the adapter, both models' weights and, for safemerge and add, a safety adapter; writes OUT, which must not
    exist, with what was done to each module in repair.json. A stopped run starts over. A repair is no proof:
    check it, and its task.

      mtb fix my-adapter --aligned org/model-Instruct --unaligned org/model --method safe_lora:share=0.5 --out fixed
    """
    from multitask_bench.cli._study import mitigation_option
    from multitask_bench.errors import ConfigError, UnknownNameError
    from multitask_bench.mitigations import mitigations
    from multitask_bench.models.load import check_adapter
    from multitask_bench.records import whole_folder, write_json
    from multitask_bench.study.progress import Reporter
    from multitask_bench.study.repair import check_base, check_differ, repair_adapter

    if out.exists():
        raise ConfigError(f"{out}: exists already; give a new folder.")
    name, settings = mitigation_option(method)
    repairs = [one for one in mitigations.names() if "on_adapter" in mitigations.get(one).hooks()]
    if "@" not in name and name not in repairs:
        raise UnknownNameError.of("repair of an adapter", name, repairs)
    spec = mitigations.make(name, settings)
    if "safety_adapter" in spec.needs and safety is None:
        raise ConfigError(
            f"--method {name} leans on a safety adapter: give --safety FOLDER, an adapter trained on {aligned} with "
            "refusals and helpful twins (mtb data build, then mtb train FILE)."
        )
    if safety is not None and "safety_adapter" not in spec.needs:
        raise ConfigError(f"--method {name} uses no safety adapter; leave --safety out.")
    reference, before = _opened(aligned, "--aligned").folder, _opened(unaligned, "--unaligned").folder
    reporter, given = Reporter.make(), _opened(base, "--base").folder if base is not None else None
    for path in (adapter, *([safety] if safety is not None else [])):
        check_adapter(path, reference)
        note = check_base(path, reference, base=given)
        if note is not None:
            reporter.say(f"note: {note}")
    check_differ(adapter, reference, before)
    with reporter.step(f"{name} on {adapter.name}"), whole_folder(out) as part:
        (figures,) = repair_adapter(
            [spec],
            adapter,
            aligned=reference,
            unaligned=before,
            safety=safety,
            out=part,
        )
        write_json(part / "repair.json", figures)
    typer.echo(_told(figures))
    typer.echo(f"written: {out}\nnext: mtb check {out} --base {aligned}")


def _opened(name: str, option: str) -> Local:
    from multitask_bench.errors import ConfigError
    from multitask_bench.models.load import Local, open_model

    found = open_model(name)
    if not isinstance(found, Local) or found.adapter is not None:
        raise ConfigError(f"{option} {name}: a local model without an adapter is needed.")
    return found


def _told(figures: dict[str, Any]) -> str:
    told = f"{figures['changed']} of {figures['modules']} modules changed"
    if figures["no_reference"]:
        told += f", {figures['no_reference']} left alone because alignment changed nothing there"
    kept = figures["norm_kept"]
    told += f"; the update has {kept:.2f} of its norm, rank {figures['rank']}" if isinstance(kept, float) else ""
    error = figures["rank_error"]
    told += f", largest error of the cut {error:.1%}" if isinstance(error, float) else ""
    if not figures["repaired"] and "threshold" in figures["settings"]:
        told += "\nnote: nothing was repaired; raise the threshold, or take a share of the modules: NAME:share=0.5"
    elif not figures["changed"]:
        told += "\nnote: nothing was changed: the adapter written is the one given; other settings may change it"
    return told
