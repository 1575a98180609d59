"""What the user sees while a study runs: one line a step, with the time left on long ones."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple, Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

PLAIN_EVERY_S = 20.0


class Tick(Protocol):
    """Told how far a step has come."""

    def __call__(self, done: int, total: int, note: str = "") -> None: ...


class Reporter(NamedTuple):
    """Writes to stderr, so that stdout holds results only."""

    console: Console

    @classmethod
    def make(cls) -> Reporter:
        return cls(Console(stderr=True, highlight=False))

    def say(self, text: str) -> None:
        """One line."""
        self.console.print(text, markup=False)

    @contextmanager
    def step(self, title: str) -> Iterator[Tick]:
        """A step with a bar on a terminal, and with a line now and then elsewhere."""
        started = time.monotonic()
        if self.console.is_terminal:
            columns = (
                TextColumn("{task.description}"),
                BarColumn(bar_width=24),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                TextColumn("left"),
                TimeRemainingColumn(),
                TextColumn("{task.fields[note]}"),
            )
            with Progress(*columns, console=self.console) as bar:
                task = bar.add_task(title, total=None, note="")

                def tick(done: int, total: int, note: str = "") -> None:
                    bar.update(task, completed=done, total=total, note=note)

                yield tick
        else:
            yield _plain(self, title, started)
            self.say(f"{title}: done in {time.monotonic() - started:.0f} s")


def _plain(reporter: Reporter, title: str, started: float) -> Tick:
    last = started

    def tick(done: int, total: int, note: str = "") -> None:
        nonlocal last
        now = time.monotonic()
        if done and done < total and now - last >= PLAIN_EVERY_S:
            last = now
            left = (now - started) / done * (total - done)
            reporter.say(f"{title}: {done}/{total}, {left:.0f} s left {note}".rstrip())

    return tick
