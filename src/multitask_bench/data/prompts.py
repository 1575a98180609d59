"""The user's own files: prompts to probe with, and chat rows to train on or to hold out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from multitask_bench.data.chat_formats import stream
from multitask_bench.errors import DataError
from multitask_bench.records import Row, read_table, validated
from multitask_bench.schema import OWN_FORM, Conversation, Message, Probe


def own_probes(path: Path) -> list[Probe]:
    """Probes from a table with column ``prompt`` and optional id, form, language, twin_of, system, expected.

    Without ``form`` a row is reported as ``own``. A row with ``twin_of`` is that row's benign
    twin and expected to be answered. A file that `mtb data build` wrote keeps everything it says.
    Raises: DataError: no column ``prompt``, an empty prompt, a repeated id.
    """
    source = path.stem
    out: dict[str, Probe] = {}
    table = read_table(path, needed=("prompt",))
    if {"intent_id", "form", "expected"} <= set(table[0]):
        return _built_probes(path, table)
    for number, row in enumerate(table, start=1):
        prompt = str(row["prompt"] or "").strip()
        if not prompt:
            raise DataError(f"{path} row {number}: the prompt is empty.")
        row_id = str(row.get("id") or f"{source}-{number:04d}")
        if row_id in out:
            raise DataError(f"{path} row {number}: id '{row_id}' occurs twice.")
        twin_of = row.get("twin_of") or None
        fields: dict[str, Any] = {
            "id": row_id,
            "intent_id": str(twin_of or row_id),
            "form": row.get("form") or OWN_FORM,
            "prompt": prompt,
            "language": row.get("language") or "en",
            "twin": twin_of is not None,
            "expected": row.get("expected") or ("answer" if twin_of else "refuse"),
            "source": source,
            "system": row.get("system") or None,
        }
        out[row_id] = validated(fields, Probe, where=f"{path} row {number}")
    return list(out.values())


def _built_probes(path: Path, table: list[Row]) -> list[Probe]:
    """Probes that `mtb data build` wrote, with options, target language, source and template."""
    out: dict[str, Probe] = {}
    for number, row in enumerate(table, start=1):
        fields = {key: value for key, value in row.items() if value not in (None, "")}
        if isinstance(fields.get("options"), str):  # csv and parquet keep lists as JSON
            fields["options"] = json.loads(fields["options"])
        probe = validated(fields, Probe, where=f"{path} row {number}")
        if probe.id in out:
            raise DataError(f"{path} row {number}: id '{probe.id}' occurs twice.")
        out[probe.id] = probe
    return list(out.values())


def chat_file(path: Path) -> list[Conversation]:
    """Training rows from a file in any chat format that `chat_formats` reads.

    Raises: DataError: a row in no known format, out of order, or without an answer.
    """
    out = []
    for row in stream(path):
        if row.fault is not None:
            raise DataError(f"{path} row {row.number}: {row.fault.text} (mtb data check {path} names every such row).")
        turns = tuple(Message(role=turn.role, content=turn.content) for turn in row.turns)
        out.append(Conversation(id=row.row_id or f"{path.stem}-{row.number:05d}", messages=turns))
    if not out:
        raise DataError(f"{path}: no rows.")
    return out
