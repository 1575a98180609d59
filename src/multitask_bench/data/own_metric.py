"""A metric of the user's own: ``mine.py@score``, a function ``(answers, references) -> list of float in [0, 1]``."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from multitask_bench.errors import ConfigError, DataError, UnknownNameError
from multitask_bench.records import file_digest
from multitask_bench.registry import first_line, run_file

OwnMetric = Callable[[Sequence[str], Sequence[str]], Sequence[float]]


def load_metric(name: str) -> OwnMetric:
    """The function that ``path/to/mine.py@score`` names.

    Raises: DataError: no such file. ConfigError: the file cannot be run, or the name is no function.
    """
    path, attribute = _parts(name)
    module = run_file(path)
    if not hasattr(module, attribute):
        public = [known for known, value in vars(module).items() if callable(value) and not known.startswith("_")]
        raise UnknownNameError.of(f"function in {path}", attribute, public)
    found = getattr(module, attribute)
    if not callable(found):
        raise ConfigError(f"{name}: a function (answers, references) -> list of numbers is needed.")
    return _checked(name, found)


def metric_signature(name: str) -> str:
    """What a row of results says of it: its name without folders, and its file's hash."""
    path, attribute = _parts(name)
    return f"{path.name}@{attribute}|sha256:{file_digest(path)[:12]}"


def _parts(name: str) -> tuple[Path, str]:
    file, _, attribute = name.rpartition("@")
    path = Path(file)
    if not file or not attribute or path.suffix != ".py":
        raise ConfigError(f"metric '{name}': write it as mine.py@score, a file and a function in it.")
    if not path.is_file():
        raise DataError(f"{path}: no such file (an own metric is 'mine.py@score').")
    return path, attribute


def _checked(name: str, metric: Callable[..., Any]) -> OwnMetric:
    """``metric`` with its mistakes as one line: it is the user's code."""

    def score(answers: Sequence[str], references: Sequence[str]) -> list[float]:
        try:
            found = list(metric(list(answers), list(references)))
        except (Exception, SystemExit) as err:
            raise ConfigError(f"{name} failed ({type(err).__name__}: {first_line(err)}).") from err
        if len(found) != len(answers):
            raise ConfigError(f"{name} gave {len(found)} values for {len(answers)} answers; one each is needed.")
        for value in found:
            if isinstance(value, str) or not _is_share(value):
                raise ConfigError(f"{name} gave {value!r}; every value is a number between 0 and 1.")
        return [float(value) for value in found]

    return score


def _is_share(value: Any) -> bool:
    try:
        number = float(value)
    except (TypeError, ValueError):
        return False
    return math.isfinite(number) and 0 <= number <= 1
