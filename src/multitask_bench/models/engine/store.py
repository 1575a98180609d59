"""Answers on disk, batch by batch: what makes a stopped run continue with the same results.

A store belongs to one model and one template. It plans its batches from the whole question list
by length and key, so their composition is fixed before anything runs, and each finished batch is
one file. The Inspect provider answers from here and computes only what is missing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from multitask_bench.records import digest, read_jsonl, write_jsonl
from multitask_bench.schema import StrictModel

BATCH_SIZE = 96


class Question(NamedTuple):
    """A rendered prompt; ``key`` names it together with the answer length."""

    key: str
    text: str
    tokens: list[int]


class Stored(StrictModel):
    """One answer in a batch file."""

    key: str
    text: str
    tokens: int
    truncated: bool


def question_key(text: str, *, max_new_tokens: int, temperature: float = 0.0) -> str:
    """The key of a rendered prompt answered with at most ``max_new_tokens`` tokens at a temperature."""
    return digest([text, max_new_tokens, *([temperature] if temperature else [])])[:32]


def plan_batches(questions: Sequence[Question], *, batch_size: int = BATCH_SIZE) -> list[list[Question]]:
    """Fixed batches of like length; the same questions give the same batches in any order."""
    unique = {q.key: q for q in questions}
    order = sorted(unique.values(), key=lambda q: (len(q.tokens), q.key))
    return [order[i : i + batch_size] for i in range(0, len(order), batch_size)]


class AnswerStore:
    """A folder of finished batches."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def missing(self, batches: Sequence[Sequence[Question]]) -> Iterator[tuple[Path, Sequence[Question]]]:
        """The batches that have no file yet, with the file each belongs in.

        Questions that other batches have answered, as where a part was asked before the whole, are not asked again.
        """
        stored = self.read().keys()
        for batch in batches:
            path = self.folder / f"batch-{digest([q.key for q in batch])[:16]}.jsonl"
            left = [q for q in batch if q.key not in stored]
            if left and not path.is_file():
                yield path, left

    def write(self, path: Path, answers: Sequence[Stored]) -> None:
        """Store a finished batch, whole or not at all."""
        write_jsonl(path, answers)

    def read(self) -> dict[str, Stored]:
        """Every stored answer by key."""
        return {row.key: row for path in sorted(self.folder.glob("batch-*.jsonl")) for row in read_jsonl(path, Stored)}
