"""Settings from plain values, with errors that name the key and the nearest right one."""

from __future__ import annotations

import types
import typing
from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel, ValidationError

from multitask_bench.errors import ConfigError, did_you_mean

M = typing.TypeVar("M", bound=BaseModel)


def parsed(raw: dict[str, Any], model: type[M], *, where: str) -> M:
    """``raw`` as ``model``; the error names the first key at fault and the nearest right one."""
    try:
        return model.model_validate(raw)
    except ValidationError as err:
        errors = err.errors()
        first = next((e for e in errors if e["type"] == "extra_forbidden"), errors[0])
        path = ".".join(str(part) for part in first["loc"])
        if first["type"] == "extra_forbidden":
            hint = did_you_mean(str(first["loc"][-1]), _fields_at(model, first["loc"][:-1]))
            raise ConfigError(f"{where}: no key '{path}'.{hint}") from err
        message = first["msg"].removeprefix("Value error, ")
        raise ConfigError(f"{where}: {path + ': ' if path else ''}{message}.") from err


def _fields_at(model: type[BaseModel], loc: Sequence[int | str]) -> list[str]:
    current: Any = model
    for part in loc:
        if isinstance(part, int) or part not in current.model_fields:
            continue  # a place in a list, or a key of the user's in a mapping
        current = _model_in(current.model_fields[part].annotation)
        if current is None:
            return []
    return list(current.model_fields)


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    if isinstance(annotation, types.UnionType) or typing.get_origin(annotation) is not None:
        return next((m for arg in typing.get_args(annotation) if (m := _model_in(arg))), None)
    return None
