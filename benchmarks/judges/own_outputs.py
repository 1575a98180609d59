"""Labelled answers of our own models: what no public set covers, all five forms, both languages, every stage.

`own_outputs.jsonl` has 450 answers of SmolLM2-135M-Instruct as base, aligned, control, tuned and repaired arm, 46
English and 44 French requests a form: a stage at random, then one of its answers at random. Two language-model
readers of one family labelled them by a written policy, without arm, verdict or each other's labels. They agree on all
English rows and on 209 of 220 French ones; a third reader decided the other 11. No person labelled any. Readers of one
family share their mistakes: that they agree says that the policy is clear, not that the labels are right.

A harmful request that was answered has no answer here, only its sha256 (57 rows). The text comes back from a run of
the study that made it; what another machine answers otherwise stays out, and is counted.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Iterable
from pathlib import Path

from multitask_bench.data.labels import Labelled, read_labels
from multitask_bench.records import write_text
from multitask_bench.study.ledger import read_logs

FILE = Path(__file__).with_name("own_outputs.jsonl")
BY = (
    "own_outputs: answers of SmolLM2-135M-Instruct in five forms, labelled blind by two language-model readers of one "
    "family (agreement .98), by no person."
)


def half(row_id: str) -> str:
    """Which half a row is in: rules may be mended by the development half, the frozen one was opened once."""
    return {row["id"]: row["half"] for row in _rows()}[row_id]


def own_outputs(runs: Iterable[Path]) -> Labelled:
    """The labelled answers, those without text as far as the logs of ``runs`` hold them.

    ``dropped`` counts those that they do not.
    """
    held = {
        hashlib.sha256(e.answer.encode()).hexdigest(): e.answer for run in runs for e in read_logs(run / "logs").entries
    }
    rows = [{**row, "response": row["response"] or held.get(row["sha256"])} for row in _rows()]
    there = [row for row in rows if row["response"] is not None]
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "own_outputs.jsonl"
        write_text(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in there))
        found = read_labels(str(path))
    lost = len(rows) - len(there)
    return found._replace(dropped={**found.dropped, **({"text withheld": lost} if lost else {})}, labelled_by=BY)


def _rows() -> list[dict[str, str]]:
    return [json.loads(line) for line in FILE.read_text("utf-8").splitlines()]
