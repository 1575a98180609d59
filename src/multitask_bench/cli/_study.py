"""Options of several verbs as pieces of a study."""

from __future__ import annotations

from pathlib import Path

from multitask_bench.errors import ConfigError
from multitask_bench.records import read_text
from multitask_bench.study.config import Arm
from multitask_bench.study.parsing import parsed
from multitask_bench.study.probes import FORMS


def system_option(value: str) -> str:
    """``none``, ``safety``, or the text of a file."""
    return value if value in ("none", "safety") else read_text(Path(value)).strip()


def given_arm(
    name: str,
    stage: str,
    model: str,
    *,
    base: str | None = None,
    template: str = "native",
    systems: tuple[str, ...] = ("none",),
) -> Arm:
    """An arm for a model that exists."""
    fields = {"name": name, "stage": stage, "model": model, "base": base, "templates": (template,), "systems": systems}
    return parsed(fields, Arm, where=f"{name} model")


def budget_intents(text: str, *, available: int) -> int:
    """How many intents a time budget such as ``15m`` pays for, on two models in five forms.

    About 0.35 s an answer on two CPU cores (benchmarks/probing); at least one a hazard category.
    Raises: ConfigError: not a number with s, m or h.
    """
    units = {"s": 1, "m": 60, "h": 3600}
    number, unit = text[:-1], text[-1:]
    try:
        seconds = float(number) * units[unit]
    except (ValueError, KeyError) as err:
        raise ConfigError(f"--budget {text}: write minutes or hours, such as 15m or 1h.") from err
    answers_an_intent = 2 * len(FORMS) * 1.5
    return max(11, min(available, int(seconds / (answers_an_intent * 0.35))))
