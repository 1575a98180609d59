"""Every error that a user can cause, as one small tree.

    MtbError                 one line on stderr, exit code 2
    ├── UnknownNameError     a component, model or key that does not exist
    ├── ConfigError          a study file or option that cannot be used
    ├── DataError            a file of rows that cannot be read or lacks what is needed
    ├── ModelError           a model folder, adapter or template that cannot be used
    ├── MissingExtraError    an optional dependency is not installed
    └── RemoteError          a remote host would be called without --allow-remote

Anything else that escapes is a bug and keeps its traceback (exit code 1).
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class MtbError(Exception):
    """A mistake that the user can mend; the message says what, where and what to do."""


class UnknownNameError(MtbError):
    """A name that nothing answers to."""

    @classmethod
    def of(cls, kind: str, name: str, known: Iterable[str]) -> UnknownNameError:
        """The error for a mistyped name, with the nearest known one."""
        names = sorted(known)
        return cls(f"no {kind} is named '{name}'.{did_you_mean(name, names)} Known: {', '.join(names)}.")


class ConfigError(MtbError):
    """A study file or an option that cannot be used."""


class DataError(MtbError):
    """A file of rows that cannot be read or lacks what is needed."""


class ModelError(MtbError):
    """A model, adapter or chat template that cannot be used."""


class MissingExtraError(MtbError):
    """An optional dependency that is not installed."""

    @classmethod
    def of(cls, what: str, extra: str) -> MissingExtraError:
        """The error for a missing extra, with the line that installs it."""
        return cls(f"{what} needs the extra '{extra}': pip install 'multitask-bench[{extra}]'")


class RemoteError(MtbError):
    """Harmful probes would leave this machine without the user's word."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """' Did you mean ...?' for the nearest of ``known``, or an empty string."""
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f" Did you mean '{near[0]}'?" if near else ""
