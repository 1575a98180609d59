"""Options of several verbs as pieces of a study."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import yaml

from multitask_bench.errors import ConfigError
from multitask_bench.records import read_text
from multitask_bench.study.config import Arm
from multitask_bench.study.parsing import parsed


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


def mitigation_option(text: str) -> tuple[str, dict[str, object]]:
    """A mitigation written as ``name`` or ``name:key=value,key=value``.

    Raises: ConfigError: a setting without a value.
    """
    name, _, rest = text.partition(":")
    return name, settings_option(rest.split(",") if rest else [], where=f"{name}:")


def settings_option(items: Sequence[str], *, where: str) -> dict[str, object]:
    """Settings written as ``key=value``, each value read as YAML.

    Raises: ConfigError: a setting without a value, or one that is no YAML.
    """
    out: dict[str, object] = {}
    for item in items:
        key, equals, value = item.partition("=")
        if not equals or not key:
            raise ConfigError(f"{where} {item}: write it as key=value.")
        try:
            out[key] = yaml.safe_load(value)
        except yaml.YAMLError as err:
            raise ConfigError(f"{where} {item}: the value is not valid YAML.") from err
    return out


def budget_seconds(text: str) -> float:
    """A time such as ``90s``, ``15m`` or ``1h``.

    Raises: ConfigError: not a number above 0 with s, m or h.
    """
    units = {"s": 1, "m": 60, "h": 3600}
    number, unit = text[:-1], text[-1:]
    try:
        seconds = float(number) * units[unit]
    except (ValueError, KeyError) as err:
        raise ConfigError(f"--budget {text}: write minutes or hours, such as 15m or 1h.") from err
    if not 0 < seconds < math.inf:
        raise ConfigError(f"--budget {text}: give a time above 0, such as 15m or 1h.")
    return seconds
