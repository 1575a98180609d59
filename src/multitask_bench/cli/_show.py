"""What the verbs print at the end: the table, the sentence, the path of the report."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from multitask_bench.errors import UnknownNameError
from multitask_bench.models.load import Planned
from multitask_bench.study.config import Study
from multitask_bench.study.estimate import (
    ACCELERATORS,
    Accelerator,
    Line,
    dry_run,
    gpu_hours,
    memory_of,
    remote_calls,
    remote_texts,
)
from multitask_bench.study.folder import Finished


def show_results(finished: Finished, run: Path) -> None:
    """The table and the sentence on stdout."""
    from multitask_bench.report.summary import sentence
    from multitask_bench.report.tables import console_table

    console = Console(highlight=False)
    console.print(console_table(finished.results))
    console.print(sentence(finished.results), markup=False)
    for finding in finished.results["findings"]:
        console.print(f"{finding['verdict']}: {finding['text']}", markup=False)
    console.print(f"\nreport: {run / 'report.html'}", markup=False, soft_wrap=True)


def matrix_speed() -> float:
    """Floating point operations a second of a float32 matrix product on this machine."""
    import time

    import numpy as np

    left, right = np.ones((1024, 576), np.float32), np.ones((576, 1536), np.float32)
    times = []
    for _ in range(20):
        started = time.perf_counter()
        left @ right
        times.append(time.perf_counter() - started)
    # The quickest: what else runs beside it now need not when the study does.
    return 2 * 1024 * 576 * 1536 / min(times)


def show_dry_run(study: Study, run: Path, *, gpu: str) -> None:
    """The steps, which of them are there, time and memory here and on a GPU, and what would be downloaded."""
    if gpu not in ACCELERATORS:
        raise UnknownNameError.of("GPU", gpu, list(ACCELERATORS))
    console, card = Console(highlight=False), ACCELERATORS[gpu]
    found = dry_run(study, run, flops=matrix_speed())
    heavy = bool(found.downloads) or found.memory > LARGE_GIB
    for title, lines in _together(found.lines):
        console.print(f"  {title:<64} {_state(lines, card if heavy else None)}", markup=False, soft_wrap=True)
    todo = [line for line in found.lines if not line.done]
    remote = remote_calls(found.plan)
    calls = sum(len(s.prompts) for s in found.plan.answers)
    minutes = max(1, round(sum(line.seconds for line in todo) / 60))
    here = f"about {minutes} minutes left here, {found.memory:.0f} GiB of memory, "
    if heavy:
        here = f"about {_hours(todo, card)} left on one {gpu}, "
    disk = (
        1 + DISK_A_MODEL * len(found.downloads) + sum(m.known.download_bytes for m in found.downloads if m.known) / 1e9
    )
    asked = f"{calls} prompts to local models, {remote} calls to remote models"
    if sent := remote_texts(found.plan):
        asked += f", {sent} texts to remote guards"
    console.print(f"{here}{disk:.0f} GB of disk; {asked}", markup=False, soft_wrap=True)
    for model in found.downloads:
        console.print(_download_note(model), markup=False, soft_wrap=True)
    for warning in found.plan.warnings:
        console.print(f"note: {warning}", markup=False, soft_wrap=True)


DEFAULT_GPU = "A100-80GB"
DISK_A_MODEL = 8
"""GB for the adapters and logs of a grid on a model of some 7 billion weights: rank 64 on all modules is 0.65 GB in
float32, and a grid has a dozen."""
MANY_STEPS = 30
LARGE_GIB = 12
"""From this need of memory on, a study is told in GPU hours as well."""


def _together(lines: list[Line]) -> list[tuple[str, list[Line]]]:
    """The steps one by one or, in a large study, those of an arm's questions together."""
    out: dict[str, list[Line]] = {}
    for line in lines:
        title = line.title.partition(",")[0] if len(lines) > MANY_STEPS else line.title
        out.setdefault(title, []).append(line)
    return [(title if len(group) == 1 else f"{title} ({len(group)} lists)", group) for title, group in out.items()]


def _state(lines: list[Line], card: Accelerator | None) -> str:
    todo = [line for line in lines if not line.done]
    if not todo:
        return "there"
    part = f"{len(lines) - len(todo)} of {len(lines)} there, " if len(todo) < len(lines) else ""
    if card is None:
        return f"{part}about {max(1, round(sum(line.seconds for line in todo)))} s"
    work = [line.work for line in todo if line.work is not None]
    memory = [found for one in work if (found := memory_of(one)) is not None]
    if not work:
        return f"{part}about {max(1, round(sum(line.seconds for line in todo)))} s on a CPU"
    if not memory:
        return f"{part}size unknown"
    most = max(memory, key=lambda one: one.gib)
    fit = "" if most.fits(card) else f", more than one {card.name} has"
    return f"{part}{_hours(todo, card)}, {most.gib:.0f} GiB{fit}"


def _hours(lines: list[Line], card: Accelerator) -> str:
    hours = [gpu_hours(line.work, card) for line in lines if line.work is not None]
    known = [one for one in hours if one is not None]
    unknown = f" and {len(hours) - len(known)} steps of unknown size" if len(known) < len(hours) else ""
    return f"{sum(known):.1f} GPU hours{unknown}"


def _download_note(model: Planned) -> str:
    """One line on a model that would be fetched: size, licence, gating, revision."""
    if model.known is None:
        return f"would download {model.name}: size and licence unknown; read its page on the hub first."
    known = model.known
    text = f"would download {known.id}: {known.download_bytes / 1e9:.1f} GB, licence {known.license}"
    text += f"; gated, accept it at {known.page} and log in" if known.gated else ""
    if model.revision is None:
        pin = f"pin it as {known.id}@{known.revision}" if known.revision else f"pin it as {known.id}@REVISION"
        text += f"; revision not pinned, {pin}"
    return f"{text}."
