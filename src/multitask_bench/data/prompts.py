"""The user's own files: prompts to probe with, and chat rows to train on or to hold out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import ValidationError

from multitask_bench.errors import DataError
from multitask_bench.records import Row, digest, read_table, validated
from multitask_bench.schema import OWN_FORM, Conversation, Message, Probe

PROBE_COLUMNS = ("prompt", "id", "form", "language", "twin_of", "system", "expected")


def own_probes(path: Path) -> list[Probe]:
    """Probes from a table with column ``prompt`` and optional id, form, language, twin_of, system, expected.

    Without ``form`` a row is reported as ``own``. A row with ``twin_of`` is that row's benign
    twin and expected to be answered.
    Raises: DataError: no column ``prompt``, an empty prompt, a repeated id.
    """
    source = path.stem
    out: dict[str, Probe] = {}
    for number, row in enumerate(read_table(path, needed=("prompt",)), start=1):
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


def chat_file(path: Path) -> list[Conversation]:
    """Training rows from a JSONL file: ``messages``, prompt/completion, or instruction/output.

    Raises: DataError: a row in none of these formats, or without an answer.
    """
    out = []
    for number, row in enumerate(read_table(path), start=1):
        where = f"{path} row {number}"
        turns = _turns(row, where=where)
        try:
            out.append(Conversation(id=str(row.get("id") or f"{path.stem}-{number:05d}"), messages=turns))
        except ValidationError as err:
            raise DataError(f"{where}: the last turn must be the assistant's answer.") from err
    return out


def _turns(row: Row, *, where: str) -> tuple[Message, ...]:
    if isinstance(row.get("messages"), list):
        return tuple(validated(_role(turn), Message, where=where) for turn in row["messages"])
    for asked, answered in (
        ("prompt", "completion"),
        ("prompt", "answer"),
        ("instruction", "output"),
        ("prompt", "response"),
    ):
        if asked in row and answered in row:
            extra = f"\n{row['input']}" if row.get("input") else ""
            turns = [("user", f"{row[asked]}{extra}"), ("assistant", str(row[answered]))]
            return tuple(Message.model_validate({"role": role, "content": text}) for role, text in turns)
    raise DataError(
        f"{where}: no chat format is recognised; use messages, prompt/completion or instruction/output "
        f"(it has {', '.join(map(str, row))})."
    )


def _role(turn: object) -> Row:
    if not isinstance(turn, dict):
        return {"role": None, "content": turn}
    return {"role": turn.get("role"), "content": turn.get("content")}


def holdout(rows: list[Conversation], count: int) -> list[Conversation]:
    """``count`` rows chosen by the hash of their content, so that the choice survives reordering."""
    return sorted(rows, key=lambda row: digest(row.messages))[:count]
