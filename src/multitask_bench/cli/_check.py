"""What `mtb check` asks and what it says."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console

from multitask_bench.cli._gate import say, show_forms, show_reasons, show_verdict, together
from multitask_bench.cli._show import matrix_speed, show_results
from multitask_bench.cli._study import budget_seconds, given_arm, system_option
from multitask_bench.data.intents import intents
from multitask_bench.errors import ConfigError
from multitask_bench.models.load import ADAPTER_CONFIG, DEMO, adapter_config, open_local
from multitask_bench.stats.gate import ALPHA, POWER
from multitask_bench.stats.power import (
    PRIOR_DISCORDANCE,
    detectable_rise,
    intents_for_zero,
    intents_needed,
    intents_to_settle,
    rise_shown,
)
from multitask_bench.study.answers import source_order
from multitask_bench.study.config import Study
from multitask_bench.study.early import LOOK_EVERY
from multitask_bench.study.estimate import START_S, seconds_an_intent
from multitask_bench.study.folder import Finished
from multitask_bench.study.gate import Gated
from multitask_bench.study.parsing import parsed
from multitask_bench.study.questions import probe_list
from multitask_bench.study.steps import OWN_TASK


def check_study(
    tuned: str,
    base: str | None,
    *,
    system: str,
    template: str,
    judge: str,
    gate: dict[str, Any],
    **chosen: Any,
) -> Study:
    """The study that compares a tuned model with its base; ``gate`` holds the gate's options by name."""
    base_name = base or _base_of(tuned)
    systems = (system_option(system),)
    before = given_arm("base", "base", base_name, template=template, systems=systems)
    after = given_arm(
        "tuned", "tuned", tuned, base=base if _is_adapter(tuned) else None, template=template, systems=systems
    )
    data: Path | None = chosen["data"]
    if data is not None:
        before, after = (arm.model_copy(update={"skills": (OWN_TASK,)}) for arm in (before, after))
    prompts: Path | None = chosen["prompts"]
    name = Path(tuned).name if Path(tuned).exists() else tuned.replace("/", "-").replace(":", "-")
    return parsed(
        {
            "name": name or "model",
            "model": base_name,
            "arms": [before.model_dump(), after.model_dump()],
            "probes": {"file": str(prompts) if prompts else None},
            "skill": {"file": str(data) if data else None},
            "judge": judge,
            **gate,
        },
        Study,
        where="check",
    )


ANSWER_S = 0.35
"""An answer of a model whose size is not known, such as one behind an API: the demo model's on two CPU cores."""


def within_budget(study: Study, budget: str) -> tuple[Study, str]:
    """The study with as many intents as a time pays for here, one a hazard at least, and what that comes to in words.

    Raises: ConfigError: no time, or the user's own prompts, of which all are asked.
    """
    seconds = budget_seconds(budget)
    if study.probes.file is not None:
        raise ConfigError("--budget picks from the bundled intents; of --prompts all are asked: leave one of them out.")
    every = len(intents(study.probes.split, study.probes.bundle))
    each = seconds_an_intent(study, flops=matrix_speed())
    if each is None:
        each = ANSWER_S * len(study.cells) * len(probe_list(study)) / every
    # Each model is loaded and, after all answers, the logs are written.
    start = START_S * (len(study.cells) + 1)
    least = len({intent.hazard for intent in intents(study.probes.split, study.probes.bundle)})
    count = max(least, min(every, int((seconds - start) / each)))
    takes = (start + count * each) / 60
    what = (
        f"budget {budget}: {count} of {every} intents, about {takes:.0f} min"
        if takes >= 1
        else (f"budget {budget}: {count} of {every} intents, less than a minute")
    )
    line = f"{what} at this machine's speed with nothing beside it" + (", the least there is" if count == least else "")
    return study.model_copy(update={"probes": study.probes.model_copy(update={"intents": count})}), line


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


def show_plan(study: Study) -> None:
    """Print what the probes can show, before anything is asked."""
    console = Console(highlight=False)
    asked = probe_list(study)
    source = next(iter(source_order(p.source for p in asked)), "")
    counted = Counter(p.form for p in asked if not p.twin and p.expected == "refuse" and p.source == source)
    twins = sum(p.twin for p in asked)
    asks = f"asks {len(study.cells)} models {len({p.intent_id for p in asked})} intents each: "
    console.print(f"{asks}{len(asked) - twins} harmful probes and {twins} harmless twins", markup=False)
    for line in plan_lines(counted, margin=study.margin):
        console.print(line, markup=False, soft_wrap=True)
    if study.sequential:
        console.print(f"asking in a random order, looking after every {LOOK_EVERY} intents", markup=False)


def plan_lines(counted: Mapping[str, int], *, margin: float) -> list[str]:
    """What so many probes a form can show and exclude (80 % power)."""
    if not counted:
        return ["no harmful probe is asked that should be refused: the gate will have nothing to judge"]
    n, points = min(counted.values()), f"{100 * margin:g} points"
    shown = rise_shown(n, discordant_share=PRIOR_DISCORDANCE, margin=margin, alpha=ALPHA / len(counted))
    still = intents_for_zero(margin)
    every = POWER ** (1 / len(counted))  # code 0 takes all forms
    moving = intents_to_settle(0.0, discordant_share=PRIOR_DISCORDANCE, margin=margin, power=every)
    share = f"{100 * PRIOR_DISCORDANCE:.0f} % of the pairs"
    seen = f"{100 * shown:.0f} points or more would likely be called a regression" if shown else "no rise can be shown"
    forms = "1 form" if len(counted) == 1 else f"{len(counted)} forms"
    out = [f"can show: with {n} probes in each of {forms}, a rise of {seen} (80 % power, if {share} differ)"]
    if not shown:
        out = [f"can show: {n} probes in each of {forms} are too few to show a rise (80 % power, if {share} differ)"]
    enough = "enough" if n >= still else "too few"
    out.append(
        f"can exclude: a rise above {points} takes {still} probes a form if nothing changes ({n} are {enough}), "
        f"{moving or 'more than 100,000'} if {share} differ without a rise"
    )
    return out


def show_check(finished: Finished, run: Path) -> int:
    """Print verdict, tables, what the sample could show and the next command; return the exit code."""
    gate, console = finished.gate, Console(highlight=False)
    if gate is not None:
        show_verdict(gate, console)
    show_results(finished, run)
    if gate is None:
        for warning in finished.results["warnings"]:
            say(console, f"  {warning}")
        return 5
    show_forms(gate, console)
    show_reasons(gate, console)
    for line in (*together(power_lines(gate)), _cost(finished.results)):
        say(console, f"  {line}")
    say(console, f"next: {_next(gate, run)}")
    return gate.result.code


def power_lines(gate: Gated) -> list[str]:
    """Per form: how many pairs differed, and how many intents would show a rise of the margin at that share."""
    margin: float = gate.settings["margin"]
    out = []
    for f in gate.result.forms:
        if f.discordant is None:
            continue
        needed = intents_needed(margin, discordant_share=f.discordant)
        rise = detectable_rise(f.n, discordant_share=f.discordant)
        seen = f"{f.n} show a rise from {100 * rise:.0f} points on" if rise is not None else f"{f.n} show no rise"
        out.append(
            f"{f.form}: {100 * f.discordant:.0f} % of the pairs differ; {seen}, "
            f"one of {100 * margin:g} points takes {needed} (80 % power)"
        )
    return out


def _cost(results: dict[str, Any]) -> str:
    """How many answers were paid for."""
    whole = [r for r in results["rows"] if r["form"] and r["language"] is None and r["template_seen"] is None]
    asked = sum(row["n"] for row in whole)
    return f"cost: {asked} answers to probes and twins" + (", task rows besides" if results["tasks"] else "")


def _next(found: Gated, run: Path) -> str:
    gate = found.result
    if gate.code == 3:
        return f"look at {run / 'report.html'}, then tune again with the safety_mix mitigation (mtb train --help)"
    if any(form.status == "saturated" for form in gate.forms):
        return (
            "this base has little left to lose in the saturated forms; if your model ships with a safety prompt, "
            "check it with --system, or give requests that the base refuses (--prompts FILE)"
        )
    if gate.code == 4 and found.early is not None and found.early.asked < found.early.intents:
        return "run it again without --sequential: it asks only what is left"
    if gate.code == 4:
        return "give more prompts (--prompts FILE), drop --budget, or accept a wider --margin"
    if gate.code == 5:
        return f"the reasons stand above; answers without a verdict are in {run / 'logs'} (inspect view)"
    return f"mtb run {run / 'study.yaml'} --out {run} repeats this check"
