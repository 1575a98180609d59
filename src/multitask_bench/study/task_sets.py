"""Rows of the tasks from public sets, in place of the bundled ones."""

from __future__ import annotations

from pathlib import Path
from random import Random

from multitask_bench.data import benign
from multitask_bench.data.task_sources import TaskData, is_downloaded, read_task, task_sources
from multitask_bench.errors import ConfigError
from multitask_bench.records import cache_folder
from multitask_bench.schema import Conversation, Split
from multitask_bench.study.config import TaskSet


def absent(chosen: TaskSet) -> str | None:
    """What would be downloaded for a set that is not on this machine, and under which licence; None where it is."""
    if chosen.file is not None or is_downloaded(chosen.source, cache=cache_folder()):
        return None
    spec = task_sources.get(chosen.source)
    if spec.base is None:
        return f"{chosen.source}: no revision is pinned; it needs file: PATH (licence {spec.licence})."
    return f"would download {chosen.source} from {spec.base} (licence {spec.licence})."


def read_set(task: str, chosen: TaskSet) -> TaskData:
    """The public set that stands in for a task.

    Raises: UnknownNameError: no such set. ConfigError: a set of another task. DataError: not there, or not as it
    should be.
    """
    found = read_task(chosen.source, file=Path(chosen.file) if chosen.file else None, cache=cache_folder())
    if found.task != task:
        raise ConfigError(f"tasks.{task}: '{chosen.source}' is a set for {found.task}.")
    return found


CHARACTERS_A_TOKEN = {"code": 2.0}
"""At least so many, else 3: dense code had 1.96 with the demo's tokenizer, English and French prose 3.3 and more."""


def training_pool(found: TaskData, chosen: TaskSet, *, max_length: int) -> list[Conversation]:
    """Its training rows, as many as the study asks for; which ones does not depend on a seed.

    Rows that may have more than ``max_length`` tokens are left out: one of them would stop a study in the middle.
    """
    most = max_length * CHARACTERS_A_TOKEN.get(found.task, 3.0)
    rows = [row for row in found.rows if row.split == "train" and len(row.prompt) + len(row.answer) <= most]
    if not rows:
        raise ConfigError(f"tasks.{found.task}: no row of '{found.name}' fits into {max_length} tokens.")
    if chosen.rows is not None and chosen.rows < len(rows):
        rows = Random(f"rows:{found.name}").sample(rows, chosen.rows)
    return [row.conversation() for row in rows]


def test_rows(found: TaskData, split: Split) -> list[benign.TaskRow]:
    """Its held-out rows in a fixed random order: sets are often sorted by label or source."""
    rows = [row for row in found.rows if row.split == split]
    return Random(f"test:{found.name}").sample(rows, len(rows))
