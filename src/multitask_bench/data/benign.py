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
METRICS = {"translation": "chrF", "classification": "macro_f1", "summarization": "rougeL"}
"""Task -> headline metric; others, code and the user's own rows among them, are measured by chrF.

chrF follows human ratings of code at least as well as BLEU and CodeBLEU (Evtikhiev et al. 2023,
arXiv:2208.03133) and assumes no language; pass@1 needs the sandbox of a later release.
"""


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


def score(task: str, answers: Sequence[str], references: Sequence[str]) -> dict[str, Any]:
    """The task's headline metric of ``answers``, in [0, 1], with its signature.

    Returns: ``{"metric", "signature", "n", "value", "low", "high"}``; the interval is a 95 %
    percentile bootstrap over rows (1,000 draws, seed 0).
    """
    from multitask_bench.data._metrics import bootstrap, chrf, macro_f1, rouge_l

    metric = METRICS.get(task, "chrF")
    function = {"chrF": chrf, "macro_f1": macro_f1, "rougeL": rouge_l}[metric]()
    value, low, high = bootstrap(function, answers, references)
    return {
        "metric": metric,
        "signature": function.signature,
        "n": len(answers),
        "value": value,
        "low": low,
        "high": high,
    }
