"""What the verbs print at the end: the table, the sentence, the path of the report."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from multitask_bench.study.config import Study
from multitask_bench.study.estimate import dry_run
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
    left @ right
    started = time.perf_counter()
    for _ in range(10):
        left @ right
    return 10 * 2 * 1024 * 576 * 1536 / (time.perf_counter() - started)


def show_dry_run(study: Study, run: Path) -> None:
    """The steps, which of them are there, and an estimate of time and memory."""
    console = Console(highlight=False)
    found = dry_run(study, run, flops=matrix_speed())
    for line in found.lines:
        state = "there" if line.done else f"about {max(1, round(line.seconds))} s"
        console.print(f"  {line.title:<60} {state}", markup=False)
    left = sum(line.seconds for line in found.lines if not line.done)
    remote = sum(len(s.questions) for s in found.plan.logs if s.answers is None)
    console.print(
        f"about {max(1, round(left / 60))} minutes left here, {found.memory:.0f} GiB of memory, 1 GiB of disk in {run}"
        + (f"; {remote} calls to remote models" if remote else ""),
        markup=False,
    )
