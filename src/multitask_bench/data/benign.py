"""The benign fine-tuning tasks and the general chat, and what a good answer is measured by."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from multitask_bench.data.intents import BUNDLED
from multitask_bench.errors import UnknownNameError
from multitask_bench.records import read_jsonl
from multitask_bench.schema import Conversation, Message, Split, StrictModel

TASKS = ("classification", "code", "summarization", "translation")
CHAT = "chat"
LABELS = ("negative", "neutral", "positive")
METRICS: dict[str, tuple[str, ...]] = {
    "translation": ("chrF++", "chrF", "BLEU"),
    "classification": ("macro_f1",),
    "summarization": ("rougeL", "length_ratio"),
    "code": ("chrF",),
}
"""Task -> the metrics of its answers against their references, the headline first; others have ``OTHERS``.

Code that comes with tests has pass@1 as its headline (`data.code_tests`). chrF follows human ratings of code at least
as well as BLEU and CodeBLEU (Evtikhiev et al. 2023, arXiv:2208.03133) and assumes no language.
"""
OTHERS = ("chrF", "length_ratio")
"""The user's own rows, and tasks that have no metric of their own."""


class TaskRow(StrictModel):
    """One benign row: what is asked and the reference answer."""

    id: str
    prompt: str
    answer: str
    split: Split
    tests: tuple[str, ...] = ()

    def conversation(self) -> Conversation:
        """The row as training data."""
        turns = (Message(role="user", content=self.prompt), Message(role="assistant", content=self.answer))
        return Conversation(id=self.id, messages=turns, kind="benign")


def rows(task: str, split: Split | None = None) -> list[TaskRow]:
    """The bundled rows of a task (or of ``chat``), ordered by id.

    Raises: UnknownNameError: no such task.
    """
    if task not in (*TASKS, CHAT):
        raise UnknownNameError.of("task", task, (*TASKS, CHAT))
    every = read_jsonl(BUNDLED / "benign" / f"{task}.jsonl", TaskRow)
    return [row for row in every if split in (None, row.split)]


def headline(task: str) -> str:
    """The name of the task's headline metric of answers against references."""
    return METRICS.get(task, OTHERS)[0]


def scores(task: str, answers: Sequence[str], references: Sequence[str]) -> list[dict[str, Any]]:
    """The task's metrics of ``answers``, the headline first, each with its signature.

    Returns: ``{"metric", "signature", "n", "value", "low", "high"}`` each; all are in [0, 1] but for the length
    ratio; the interval is a 95 % percentile bootstrap over rows (1,000 draws, seed 0).
    """
    from multitask_bench.data import _metrics

    out = []
    for metric in METRICS.get(task, OTHERS):
        function = _metrics.BY_NAME[metric]()
        value, low, high = _metrics.bootstrap(function, answers, references)
        ends = {"value": value, "low": low, "high": high}
        out.append({"metric": metric, "signature": function.signature, "n": len(answers), **ends})
    return out


def score(task: str, answers: Sequence[str], references: Sequence[str]) -> dict[str, Any]:
    """The headline of `scores`."""
    return scores(task, answers, references)[0]


def unparsed(answers: Sequence[str], references: Sequence[str]) -> int:
    """How many answers name none of the references' labels; in macro-F1 they are wrong."""
    from multitask_bench.data._metrics import label_of

    labels = sorted(set(references))
    return sum(not label_of(answer, labels) for answer in answers)
