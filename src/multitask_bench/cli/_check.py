"""What `mtb check` asks and what it says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.console import Console

from multitask_bench.cli._show import show_results
from multitask_bench.cli._study import budget_intents, given_arm, system_option
from multitask_bench.data.intents import intents
from multitask_bench.errors import ConfigError
from multitask_bench.judges._card import card
from multitask_bench.models.load import ADAPTER_CONFIG, DEMO, adapter_config, open_local
from multitask_bench.report.tables import console_twins
from multitask_bench.stats.gate import GateResult
from multitask_bench.study.config import Study
from multitask_bench.study.folder import Finished
from multitask_bench.study.parsing import parsed
from multitask_bench.study.plan import OWN_TASK


def check_study(
    tuned: str,
    base: str | None,
    *,
    system: str,
    template: str,
    margin: float,
    judge: str,
    **chosen: Any,
) -> Study:
    """The study that compares a tuned model with its base."""
    base_name = base or _base_of(tuned)
    systems = (system_option(system),)
    before = given_arm("base", "base", base_name, template=template, systems=systems)
    after = given_arm(
        "tuned", "tuned", tuned, base=base if _is_adapter(tuned) else None, template=template, systems=systems
    )
    data: Path | None = chosen["data"]
    if data is not None:
        before, after = (arm.model_copy(update={"skills": (OWN_TASK,)}) for arm in (before, after))
    budget, prompts = chosen["budget"], chosen["prompts"]
    count = budget_intents(budget, available=len(intents("test"))) if budget else None
    name = Path(tuned).name if Path(tuned).exists() else tuned.replace("/", "-").replace(":", "-")
    return parsed(
        {
            "name": name or "model",
            "model": base_name,
            "arms": [before.model_dump(), after.model_dump()],
            "probes": {"intents": count, "file": str(prompts) if prompts else None},
            "skill": {"file": str(data) if data else None},
            "margin": margin,
            "judge": judge,
        },
        Study,
        where="check",
    )


def _is_adapter(name: str) -> bool:
    return (Path(name) / ADAPTER_CONFIG).is_file()


def _base_of(tuned: str) -> str:
    if not _is_adapter(tuned):
        if tuned != DEMO and "/" not in tuned:
            open_local(tuned)  # a misspelt name is said first
        raise ConfigError(f"{tuned} does not say what it was tuned from; give --base MODEL.")
    named = adapter_config(Path(tuned)).get("base_model_name_or_path")
    if not named:
        raise ConfigError(f"{tuned}: {ADAPTER_CONFIG} names no base model; give --base MODEL.")
    return str(named)


def show_check(finished: Finished, run: Path) -> int:
    """Print verdict, table, what the sample can detect and the next command; return the exit code."""
    gate = finished.gate
    assert gate is not None, "a check has one base and one tuned arm"
    console = Console(highlight=False)
    console.print(gate.verdict, markup=False, style="bold")
    for reason in gate.reasons:
        console.print(f"  {reason}", markup=False)
    show_results(finished, run)
    console.print(console_twins(finished.results))
    for item in finished.results["power"]:
        rise = item["detectable_rise"]
        seen = f"a rise of {100 * rise:.0f} points or more" if rise is not None else "no rise of any size"
        console.print(f"  {item['form']}: {item['n']} probes can show {seen} (80 % power)", markup=False)
    for line in _judge_and_cost(finished.results):
        console.print(f"  {line}", markup=False, soft_wrap=True)
    console.print(f"next: {_next(gate, run)}", markup=False, soft_wrap=True)
    return gate.code


def _judge_and_cost(results: dict[str, Any]) -> list[str]:
    """What the judge was never held against, and how many answers were paid for."""
    whole = [r for r in results["rows"] if r["form"] and r["language"] is None and r["template_seen"] is None]
    names = sorted({row["judge"] for row in whole})
    out = []
    for name in names:
        found = card(name)
        gaps = "; ".join(found["not_measured"]) if found else "anything"
        out.append(f"judge {name}: not measured on {gaps}")
    asked = sum(row["n"] for row in whole)
    return [*out, f"cost: {asked} answers to probes and twins" + (", task rows besides" if results["tasks"] else "")]


def _next(gate: GateResult, run: Path) -> str:
    if gate.code == 3:
        return f"look at {run / 'report.html'}, then tune again with the safety_mix mitigation (mtb train --help)"
    if any(form.status == "saturated" for form in gate.forms):
        return (
            "this base has little left to lose in the saturated forms; if your model ships with a safety prompt, "
            "check it with --system, or give requests that the base refuses (--prompts FILE)"
        )
    if gate.code == 4:
        return "give more prompts (--prompts FILE), drop --budget, or accept a wider --margin"
    if gate.code == 5:
        return f"the reasons stand above; answers without a verdict are in {run / 'logs'} (inspect view)"
    return f"mtb run {run / 'study.yaml'} --out {run} repeats this check"
