"""Rows to train on: the alignment's, those of a task with its mitigations, and those of a safety adapter."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

from multitask_bench.data import benign
from multitask_bench.data.foreign import read_foreign, without
from multitask_bench.errors import ConfigError
from multitask_bench.mitigations import MitigationSpec
from multitask_bench.schema import Conversation, Message
from multitask_bench.study.mitigated import made
from multitask_bench.study.parsing import parsed
from multitask_bench.study.probes import FORMS
from multitask_bench.study.safety_set import SafetySet, safety_rows
from multitask_bench.study.training_file import refuses


def alignment_rows(*, count: int, safety: SafetySet, chat_rows: int) -> list[Conversation]:
    """``count`` rows of what the aligned model learns: refusals, helpful twins, and ordinary chat.

    Each refusal stands beside its twin, so that a batch holds both sides of the line that is to
    be learnt; the pairs come in random order, anew each time all have been used.
    """
    rng = Random(f"{safety.seed}:align")
    chat = [row.conversation().model_copy(update={"kind": "chat"}) for row in benign.rows(benign.CHAT, "train")]
    rows = safety_rows(safety)  # with twins, as `config.Align` sees to
    rows += rng.sample(chat, min(chat_rows, len(chat)) // 2 * 2)
    pairs = [rows[i : i + 2] for i in range(0, len(rows), 2)]
    out: list[Conversation] = []
    while len(out) < count:
        for pair in rng.sample(pairs, len(pairs)):
            out += pair
    return out[:count]


def task_rows(
    task: str,
    *,
    count: int,
    mitigation: dict[str, dict[str, object]],
    seed: int,
    pool: Sequence[Conversation] | None = None,
) -> list[Conversation]:
    """``count`` training rows of a task (repeated when there are fewer), mitigations applied.

    A mitigation that adds rows makes them more than ``count``.
    ``pool`` holds the rows of a task that is not bundled.
    """
    rng = Random(f"{seed}:{task}")
    pool = [row.conversation() for row in benign.rows(task, "train")] if pool is None else pool
    rows: list[Conversation] = []
    while len(rows) < count:
        rows += rng.sample(list(pool), min(len(pool), count - len(rows)))
    for spec in made(mitigation):
        if "on_data" in spec.hooks():
            rows = spec.on_data(rows, _extra_rows(spec, seed), rng=rng)
    return rows


def safety_adapter_rows(settings: dict[str, object], *, count: int, seed: int) -> list[Conversation]:
    """``count`` rows of what a safety adapter learns: refusals, each beside its helpful twin."""
    return alignment_rows(count=count, safety=_safety_set(settings, seed), chat_rows=0)


def _extra_rows(spec: MitigationSpec, seed: int) -> list[Conversation]:
    """The rows that a mitigation is handed beside those of the task."""
    if spec.extra_rows == "chat":
        return [row.conversation().model_copy(update={"kind": "chat"}) for row in benign.rows(benign.CHAT, "train")]
    if "file" in spec.safety:
        return _foreign_rows(str(spec.safety["kind"]), Path(str(spec.safety["file"])))
    return safety_rows(_safety_set(spec.safety, seed))


def _safety_set(settings: dict[str, object], seed: int) -> SafetySet:
    """The safety set that a mitigation names.

    Raises: ConfigError: it leaves out a form that there is not.
    """
    chosen: dict[str, Any] = {"seed": seed, **settings}
    left_out = chosen.pop("leave_out", None)
    if left_out is not None:
        if left_out not in FORMS:
            raise ConfigError(f"leave_out: no form is named '{left_out}'. Known: {', '.join(FORMS)}.")
        chosen["forms"] = {form: 1.0 for form in FORMS if form != left_out}
    return parsed(chosen, SafetySet, where="safety")


def _foreign_rows(origin: str, path: Path) -> list[Conversation]:
    """The pairs of another's set that refuse, each request once."""
    found = read_foreign(path, "authors" if origin == "authors" else "bianchi", refuses=refuses)
    return [
        Conversation(
            id=f"{origin}-{row.number}",
            messages=(Message(role="user", content=row.prompt), Message(role="assistant", content=row.answer)),
            kind="safety",
        )
        for row in without(found.rows, ("duplicate", "leak", "not_a_refusal"))
    ]
