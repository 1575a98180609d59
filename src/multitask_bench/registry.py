"""Components by name: a file in the component's folder, an entry point, or a path.

The module's name is the registered name and it defines one class, marked by the registry's
``add``. Names are listed without importing anything. Lookup order: built-in module, entry point
(group ``multitask_bench.<kind>``), ``path/to/mine.py@mine``.
"""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar, Generic, TypeVar

from pydantic import ValidationError

from multitask_bench.errors import ConfigError, DataError, MtbError, UnknownNameError, did_you_mean
from multitask_bench.schema import StrictModel


class Spec(StrictModel):
    """A component's settings; making one is free, work happens in its verb."""

    name: ClassVar[str]


S = TypeVar("S", bound=Spec)


class Registry(Generic[S]):
    """The components of one kind."""

    def __init__(self, kind: str, package: str) -> None:
        self.kind = kind
        self.package = package
        self._classes: dict[str, type[S]] = {}

    def add(self, cls: type[S]) -> type[S]:
        """Register ``cls`` under its ``name``; a second owner of a name is refused."""
        known = self._classes.get(cls.name)
        if known is not None and known.__module__ != cls.__module__:
            raise ConfigError(f"{self.kind} '{cls.name}' is defined by {known.__module__} and {cls.__module__}.")
        self._classes[cls.name] = cls
        return cls

    def names(self) -> list[str]:
        """Every name that can be used without a path."""
        folder = importlib.util.find_spec(self.package)
        places = list(folder.submodule_search_locations or []) if folder else []
        builtin = {m.name for m in pkgutil.iter_modules(places) if not m.name.startswith("_")}
        return sorted(builtin | {point.name for point in self._entry_points()} | set(self._classes))

    def get(self, name: str) -> type[S]:
        """The class of ``name``.

        Raises: UnknownNameError: nothing has that name.
        """
        if "@" in name:
            return self._from_path(name)
        if name not in self._classes:
            if name not in self.names():
                raise UnknownNameError.of(self.kind, name, self.names())
            points = [point for point in self._entry_points() if point.name == name]
            if points:
                points[0].load()
            else:
                importlib.import_module(f"{self.package}.{name}")
        return self._classes[name]

    def make(self, name: str, settings: dict[str, Any] | None = None) -> S:
        """The component ``name`` with ``settings``.

        Raises: ConfigError: a setting that it does not have, or of the wrong kind.
        """
        cls = self.get(name)
        try:
            return cls.model_validate(settings or {})
        except ValidationError as err:
            first = err.errors()[0]
            key = ".".join(map(str, first["loc"]))
            if first["type"] == "extra_forbidden":
                raise ConfigError(
                    f"{self.kind} '{name}': no key '{key}'.{did_you_mean(key, cls.model_fields)}"
                ) from err
            where = f"{key}: " if key else ""
            raise ConfigError(f"{self.kind} '{name}': {where}{first['msg'].removeprefix('Value error, ')}.") from err

    def _entry_points(self) -> list[Any]:
        return list(entry_points(group=f"multitask_bench.{self.kind}"))

    def _from_path(self, name: str) -> type[S]:
        file, _, attribute = name.rpartition("@")
        path = Path(file)
        if not path.is_file():
            raise DataError(f"{path}: no such file (a {self.kind} by path is 'mine.py@name').")
        run_file(path)
        if attribute not in self._classes:
            raise UnknownNameError.of(self.kind, attribute, self._classes)
        return self._classes[attribute]


def run_file(path: Path) -> ModuleType:
    """Run a Python file of the user's as a module.

    Raises: DataError: not a Python file; ConfigError: it cannot be run; MtbError: what it raises of ours.
    """
    spec = importlib.util.spec_from_file_location(f"multitask_bench_own_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise DataError(f"{path}: not a Python file.")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except MtbError:
        raise
    except (Exception, SystemExit) as err:  # a script may end itself
        raise ConfigError(f"{path}: cannot be run ({type(err).__name__}: {first_line(err)}).") from err
    return module


def first_line(err: BaseException) -> str:
    """The first line of an error's message, cut to what a console shows."""
    return (str(err).splitlines() or [""])[0][:200]
