"""Training files as conversations, a row at a time: TRL, OpenAI, ShareGPT, Alpaca, prompt/completion.

Rows are streamed, so that a file of a million rows needs no more memory than one of ten. A row that
cannot be read is a row with a fault, never a gap.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

from multitask_bench.errors import DataError
from multitask_bench.records import check_text_file, open_text

SUFFIXES = (".jsonl", ".json", ".csv", ".parquet")
ROLES = {"human": "user", "user": "user", "gpt": "assistant", "chatgpt": "assistant", "bing": "assistant"}
ROLES |= {"assistant": "assistant", "model": "assistant", "system": "system", "developer": "system"}
"""What the formats call a speaker -> what we call it."""
PAIRS = (
    ("prompt", "completion"),
    ("prompt", "answer"),
    ("prompt", "response"),
    ("instruction", "output"),
    ("instruction", "response"),
    ("Query", "Response"),
    ("query", "response"),
    ("question", "answer"),
)


class Fault(NamedTuple):
    """What is wrong with a row: a short code and a sentence."""

    code: str
    text: str


class Turn(NamedTuple):
    """One turn; ``role`` is system, user or assistant."""

    role: str
    content: str


class TrainRow(NamedTuple):
    """One row of a training file."""

    number: int
    """Line of a JSONL file, else row, counted from 1."""
    format: str
    turns: tuple[Turn, ...]
    fault: Fault | None = None
    row_id: str | None = None
    ignored: tuple[str, ...] = ()
    """What the row holds that training here does not use, such as ``tool_calls``."""

    @property
    def asked(self) -> str:
        """Everything before the last answer, as one text."""
        return "\n".join(turn.content for turn in self.turns[:-1])

    @property
    def questions(self) -> str:
        """What was asked, without the system prompt that all rows may share."""
        return "\n".join(turn.content for turn in self.turns[:-1] if turn.role != "system")

    @property
    def answer(self) -> str:
        """The last turn's text."""
        return self.turns[-1].content if self.turns else ""

    @property
    def system(self) -> str | None:
        """The system prompt that the row brings."""
        return self.turns[0].content if self.turns and self.turns[0].role == "system" else None


def stream(path: Path) -> Iterator[TrainRow]:
    """The rows of a training file.

    Raises: DataError: no such file, empty, binary, of a kind that is not read.
    """
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise DataError(f"{path}: '{path.suffix}' is not read as training data; use {', '.join(SUFFIXES)}.")
    reader = {".jsonl": _json_lines, ".json": _json_array, ".csv": _csv, ".parquet": _parquet}[suffix]
    for number, raw in reader(path):
        yield raw if isinstance(raw, TrainRow) else parse(number, raw)


def parse(number: int, row: object) -> TrainRow:
    """One raw row as turns, in whichever format it is."""
    if not isinstance(row, dict):
        return _faulty(number, "not_an_object", "the row is not a JSON object")
    row_id = str(row["id"]) if row.get("id") not in (None, "") else None
    for key, form in (("messages", "messages"), ("conversations", "sharegpt")):
        if key in row:
            return _turns(number, form, row[key], row_id)
    if isinstance(row.get("prompt"), list) and isinstance(row.get("completion"), list):
        return _turns(number, "prompt/completion of messages", [*row["prompt"], *row["completion"]], row_id)
    for asked, answered in PAIRS:
        if asked in row and answered in row:
            name = "alpaca" if asked == "instruction" else "prompt/completion"
            extra = f"\n{row['input']}" if row.get("input") else ""
            fault = _not_text(row[asked]) or _not_text(row[answered])
            turns: tuple[Turn, ...] = (
                Turn("user", f"{row[asked] or ''}{extra}"),
                Turn("assistant", str(row[answered] or "")),
            )
            if row.get("system"):
                turns = (Turn("system", str(row["system"])), *turns)
            return TrainRow(number, name, turns, fault, row_id)
    if isinstance(row.get("text"), str):
        return _faulty(number, "plain_text", "only 'text': which part is the answer cannot be told")
    return _faulty(
        number, "unknown_format", f"no chat format is recognised (it has {', '.join(map(str, row)) or 'no keys'})"
    )


def _faulty(number: int, code: str, text: str) -> TrainRow:
    return TrainRow(number, "unknown", (), Fault(code, text))


def _not_text(value: object) -> Fault | None:
    return None if isinstance(value, str) else Fault("not_text", f"a turn is {type(value).__name__}, not text")


def _turns(number: int, form: str, raw: object, row_id: str | None) -> TrainRow:
    if not isinstance(raw, list) or not raw:
        return TrainRow(number, form, (), Fault("no_turns", "the list of turns is empty or no list"), row_id)
    turns: list[Turn] = []
    ignored: set[str] = set()
    fault: Fault | None = None
    for turn in raw:
        if not isinstance(turn, dict):
            return TrainRow(number, form, (), Fault("not_a_turn", "a turn is not an object"), row_id)
        said = turn.get("role", turn.get("from"))
        role = ROLES.get(str(said).lower())
        content = turn.get("content", turn.get("value"))
        if isinstance(content, list) and all(isinstance(p, dict) and p.get("type") == "text" for p in content):
            content = "".join(str(part.get("text", "")) for part in content)
        ignored |= {key for key in ("tool_calls", "function_call", "weight", "name") if turn.get(key) is not None}
        if role is None:
            fault = fault or Fault("unknown_role", f"role '{said}' is none of system, user, assistant")
            role = "user"
        if not isinstance(content, str):
            fault = fault or _not_text(content)
            content = ""
        turns.append(Turn(role, content))
    return TrainRow(number, form, tuple(turns), fault or _order(turns), row_id, tuple(sorted(ignored)))


def _order(turns: list[Turn]) -> Fault | None:
    roles = [turn.role for turn in turns]
    if "system" in roles[1:]:
        return Fault("system_not_first", "a system turn stands after another turn")
    spoken = [role for role in roles if role != "system"]
    if not spoken or spoken[-1] != "assistant":
        return Fault("no_answer", "the last turn is not the assistant's")
    if spoken[0] != "user":
        return Fault("starts_with_answer", "the assistant speaks first")
    if any(a == b for a, b in pairwise(spoken)):
        return Fault("role_order", "two turns of the same speaker follow each other")
    return None


def _json_lines(path: Path) -> Iterator[tuple[int, Any]]:
    with open_text(path) as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except (ValueError, RecursionError) as err:
                yield number, _faulty(number, "not_json", f"not valid JSON ({getattr(err, 'msg', err)})")
                continue
            if not (isinstance(row, dict) and set(row) == {"notice"}):
                yield number, row


BLOCK = 1 << 16


def _json_array(path: Path) -> Iterator[tuple[int, Any]]:
    """The elements of one JSON array, decoded one by one out of a moving window."""
    decoder = json.JSONDecoder()
    with open_text(path) as file:
        window, number, ended, gone = file.read(BLOCK).lstrip(), 0, False, False
        if not window.startswith("["):
            raise DataError(f"{path}: a .json training file is one array of rows; write one row a line as .jsonl.")
        window = window[1:]
        while True:
            window = window.lstrip()
            if window.startswith("]"):
                if (window[1:] + file.read()).strip():
                    yield number + 1, _faulty(number + 1, "not_json", "text after the end of the array")
                return
            if number and window and not gone:
                if not window.startswith(","):
                    yield number + 1, _faulty(number + 1, "not_json", "no comma between two rows")
                    return
                window, gone = window[1:].lstrip(), True
            try:
                row, end = decoder.raw_decode(window)
            except (ValueError, RecursionError) as err:
                block = file.read(max(BLOCK, len(window)))
                if not block:
                    if ended:
                        yield number + 1, _faulty(number + 1, "not_json", f"not valid JSON from here ({err})")
                        return
                    ended = True
                window += block
                continue
            number, gone = number + 1, False
            yield number, row
            window = window[end:]


def _csv(path: Path) -> Iterator[tuple[int, Any]]:
    csv.field_size_limit(1 << 30)
    with open_text(path) as file:
        reader = csv.reader(file, strict=True)
        try:
            header = next(reader, [])
            for number, cells in enumerate(reader, start=1):
                if len(cells) == len(header):
                    yield number, dict(zip(header, cells, strict=True))
                elif cells:
                    text = f"{len(cells)} cells, the header has {len(header)}"
                    yield number, _faulty(number, "cells", text)
        except csv.Error as err:
            raise DataError(f"{path} line {reader.line_num}: not valid CSV ({err}).") from err


def _parquet(path: Path) -> Iterator[tuple[int, Any]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    check_text_file(path, binary=True)
    try:
        file = pq.ParquetFile(path)
    except pa.ArrowInvalid as err:
        raise DataError(f"{path}: not a parquet file.") from err
    number = 0
    try:
        for batch in file.iter_batches(batch_size=1024):
            for row in batch.to_pylist():
                number += 1
                yield number, row
    except (pa.ArrowException, OSError) as err:
        raise DataError(f"{path} after row {number}: damaged ({str(err).splitlines()[0]}).") from err
