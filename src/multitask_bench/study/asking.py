"""Ask two arms in the order of `study.early`, look now and then, and stop when the gate is decided.

Answers go to the same stores as those of a run without looks, so that such a run asks only what is missing.
"""

from __future__ import annotations

import shutil
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Any

from multitask_bench.errors import ConfigError
from multitask_bench.records import digest, read_json, write_json
from multitask_bench.schema import Probe
from multitask_bench.study.answers import source_order
from multitask_bench.study.compare import key_of
from multitask_bench.study.config import Study
from multitask_bench.study.early import Asked, asking_order, look_after
from multitask_bench.study.gate import GateOptions, measured_forms, two_arms
from multitask_bench.study.grading import asks_model
from multitask_bench.study.ledger import Ledger, read_logs
from multitask_bench.study.run_local import Runner
from multitask_bench.study.steps import LogStep, Plan


def check_sequential(study: Study, plan: Plan) -> None:
    """Raises: ConfigError: not one base and one tuned model, a second source, or a judge that is paid by the answer."""
    if not study.sequential:
        return
    if any(asks_model(log.judges[0]) for log in plan.logs if log.judges):
        raise ConfigError(
            "sequential: the judge would be asked twice about each answer, at a look and for the whole log; take one "
            "that asks no model, such as refusal, or leave sequential out."
        )
    stages = sorted(arm.stage for arm in study.cells)
    if stages not in (["base", "tuned"], ["aligned", "tuned"]):
        raise ConfigError("sequential: it stops for one base and one tuned model; leave it out of this study.")
    if study.probes.held_out is not None:
        raise ConfigError("sequential: a held-out source is asked whole; leave probes.held_out or sequential out.")


def how_asked(run: Path, plan: Plan) -> dict[str, Any] | None:
    """That an earlier run of this plan had looks, for the headers of a run that asks everything; None without one."""
    path = _record(run, plan)
    if not path.is_file():
        return None
    looked = Asked(**read_json(path)["asked"])
    questions = next(log.questions for log in plan.logs if log.kind == "probe")
    return looked._replace(order=_order([q for q in questions if isinstance(q, Probe)]))._asdict()


def ask_in_order(runner: Runner, study: Study) -> None:
    """Train what the plan trains, ask all task rows, then the probes until the gate is decided, and write the logs."""
    plan = runner.plan
    runner.train()
    for log in plan.logs:
        if log.kind == "task" and log.answers is not None:
            runner.answer(log.answers)
    options, record = GateOptions.of(study), _record(runner.run, plan)
    known = read_json(record) if record.is_file() else None
    if known is None or known["options"] != options.model_dump(mode="json"):
        asked = _asked(runner, options)
        write_json(record, {"options": options.model_dump(mode="json"), "asked": asked._asdict()})
    else:
        asked = Asked(**known["asked"])
    runner.logs.asked = asked._asdict()
    stopped = asked.stopped
    if not stopped:
        for answers in plan.answers:
            runner.answer(answers)  # nothing is missing: this marks the steps as done
    runner.finish([_part(log, asked.order) if stopped and log.kind == "probe" else log for log in plan.logs])


def _asked(runner: Runner, options: GateOptions) -> Asked:
    """Ask, look and stop."""
    steps = [log for log in runner.plan.logs if log.kind == "probe"]
    order = _order([q for q in steps[0].questions if isinstance(q, Probe)])
    read: list[Ledger] = []
    looks: list[int] = []
    for count in look_after(len(order)):
        first = looks[-1] if looks else 0
        # Further judges read the whole log, once.
        parts = [
            _part(step._replace(judges=step.judges[:1]), order[first:count], note=f", intents {first + 1} to {count}")
            for step in steps
        ]
        for part in sorted(parts, key=lambda part: part.source.base):
            if part.answers is not None:
                runner.answer(part.answers, part=True)
        folder = runner.run / "steps" / f"look-{parts[0].key}"
        runner.logs.write(parts, folder)
        read.append(read_logs(folder))
        looks.append(count)
        code = _look(read, order[:count], options)
        runner.reporter.say(f"looked after {count} of {len(order)} intents: {_said(code)}")
        if code is not None:
            break
    # The logs of the whole run hold what those of the looks did.
    for place in (runner.run / "steps").glob("look-*"):
        shutil.rmtree(place)
    for place in (runner.run / "steps").glob("log-*-part-*"):
        shutil.rmtree(place)
    return Asked(order[: looks[-1]], looks, len(order))


def _said(code: int | None) -> str:
    return {0: "no regression, stopping", 3: "regression, stopping", None: "not decided"}[code]


def _look(read: Sequence[Ledger], order: Iterable[str], options: GateOptions) -> int | None:
    """The code that the answers so far have settled; None to go on."""
    base, tuned = _arms(read[0])
    before, after = ({key_of(e): e for one in read for e in one.entries if e.arm == arm} for arm in (base, tuned))
    forms = {str(e.meta["form"]) for e in before.values()}
    looks = two_arms(before, after, measured_forms(read[0], forms)[0]).looks(options)
    looks.add(order)
    return looks.code()


def _arms(ledger: Ledger) -> tuple[str, str]:
    stages = {str(facts["stage"]): name for name, facts in ledger.arms.items()}
    return stages.get("base") or stages["aligned"], stages["tuned"]


def _order(probes: Sequence[Probe]) -> list[str]:
    """The intents that the gate counts in their order, then those of which it counts no probe."""
    source = next(iter(source_order(p.source for p in probes)), "")
    counted = [p for p in probes if not p.twin and p.expected == "refuse" and p.source == source]
    order = asking_order({p.intent_id: str(p.hazard) for p in counted})
    return [*order, *sorted({p.intent_id for p in probes} - set(order))]


def _part(step: LogStep, intents: Collection[str], *, note: str = "") -> LogStep:
    """The same step for some of the intents; its answers go to the same store."""
    chosen = set(intents)
    questions = [q for q in step.questions if isinstance(q, Probe) and q.intent_id in chosen]
    answers = step.answers
    if answers is not None:
        prompts: list[tuple[str | None, str]] = [(q.system, q.prompt) for q in questions]
        answers = answers._replace(prompts=prompts, title=answers.title + note)
    key = f"{step.key}-part-{digest(sorted(chosen))[:8]}"
    return step._replace(key=key, questions=questions, answers=answers)


def _record(run: Path, plan: Plan) -> Path:
    keys = sorted(log.key for log in plan.logs if log.kind == "probe")
    return run / "steps" / f"asked-{digest(keys)[:16]}" / "done.json"
