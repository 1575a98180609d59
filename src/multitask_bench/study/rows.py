"""Rows to train on: the alignment's, and those of a task with its mitigations."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from multitask_bench.data import benign
from multitask_bench.mitigations import mitigations
from multitask_bench.schema import Conversation
from multitask_bench.study.parsing import parsed
from multitask_bench.study.safety_set import SafetySet, safety_rows


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

    ``pool`` holds the rows of a task that is not bundled.
    """
    rng = Random(f"{seed}:{task}")
    pool = [row.conversation() for row in benign.rows(task, "train")] if pool is None else pool
    rows: list[Conversation] = []
    while len(rows) < count:
        rows += rng.sample(list(pool), min(len(pool), count - len(rows)))
    for name, settings in mitigation.items():
        spec = mitigations.make(name, dict(settings))
        rows = spec.on_data(rows, _safety_for(spec.safety, seed), rng=rng)
    return rows


def _safety_for(settings: dict[str, object], seed: int) -> list[Conversation]:
    """The safety rows that a mitigation asks for."""
    return safety_rows(parsed({"seed": seed, **settings}, SafetySet, where="safety"))
