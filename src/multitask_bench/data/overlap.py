"""Contamination: which test prompts stand, wholly or nearly, in the rows a model is trained on."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from multitask_bench.data.chat_formats import TrainRow, stream
from multitask_bench.data.near import ContainmentIndex
from multitask_bench.data.sources import list_texts, sources
from multitask_bench.errors import DataError
from multitask_bench.records import read_jsonl, read_table
from multitask_bench.schema import Probe

SHOWN_ROWS = 20


class TestText(NamedTuple):
    """One text that must not be trained on."""

    id: str
    text: str


class OverlapReport(NamedTuple):
    """How much of a test set a training set holds."""

    test_rows: int
    train_rows: int
    unreadable: int
    """Training rows in no known format; their text was not compared."""
    exact: dict[str, list[int]]
    """Test id -> training rows that hold it word for word."""
    near: dict[str, list[tuple[int, float]]]
    """Test id -> (training row, share of its word 4-grams), where none holds it word for word."""

    def facts(self) -> dict[str, Any]:
        """The report as JSON values, every row number included."""
        return {
            "test_rows": self.test_rows,
            "train_rows": self.train_rows,
            "unreadable_train_rows": self.unreadable,
            "exact": {"test_rows": len(self.exact), "rows": self.exact},
            "near": {
                "test_rows": len(self.near),
                "rows": {name: [[n, round(share, 3)] for n, share in found] for name, found in self.near.items()},
            },
        }


def overlap(train: Iterable[TrainRow], test: Sequence[TestText]) -> OverlapReport:
    """Hold every training prompt and answer against every test text.

    "Exact" is up to case, punctuation and white space: the test text is a stretch of the row's words.
    """
    index = ContainmentIndex([row.text for row in test])
    exact: dict[str, list[int]] = {}
    near: dict[str, list[tuple[int, float]]] = {}
    count = unreadable = 0
    for row in train:
        count += 1
        if not row.turns:
            unreadable += 1
            continue
        for found in index.find("\n".join(turn.content for turn in row.turns), train=row.number):
            name = test[found.test].id
            if found.exact:
                exact.setdefault(name, []).append(found.train)
            else:
                near.setdefault(name, []).append((found.train, found.share))
    return OverlapReport(
        len(test), count, unreadable, exact, {name: rows for name, rows in near.items() if name not in exact}
    )


def test_texts(name: str, *, file: Path | None, cache: Path) -> list[TestText]:
    """The texts of a test set: a named source, a file of probes, or any list of requests.

    Raises: DataError: no such set, or nothing to compare in it.
    """
    path = Path(name)
    if name not in sources.names() and path.suffix.lower() == ".jsonl" and path.is_file():
        first = read_table(path)[0]
        if {"intent_id", "form", "prompt"} <= set(first):
            return [TestText(probe.id, probe.prompt) for probe in read_jsonl(path, Probe)]
    return [TestText(row.id, row.text) for row in list_texts(name, file=file, cache=cache)]


def train_rows(path: Path) -> Iterable[TrainRow]:
    """The rows of a training file, or of a folder that `mtb data build` wrote.

    Raises: DataError: not there, or no rows file in the folder.
    """
    if path.is_dir():
        inner = next((path / name for name in ("train.jsonl", "rows.jsonl") if (path / name).is_file()), None)
        if inner is None:
            raise DataError(f"{path}: no train.jsonl or rows.jsonl in this folder.")
        return stream(inner)
    return stream(path)
