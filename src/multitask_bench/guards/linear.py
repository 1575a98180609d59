"""The embedded guard: a linear model on word and character n-grams, a few hundred kB, no model and no network.

Trained on bundled training probes and twins in every form, on the bundled benign tasks and chat, and on short goals
and sentences written for it (``study/guard_training.py``); public lists are only ever tested on. It reads words, not
meaning: a benign request that shares the words of a harmful one is what it gets wrong (its card has the figures).
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import ClassVar

from typing_extensions import override

from multitask_bench.errors import DataError
from multitask_bench.guards import _ngrams
from multitask_bench.guards._spec import GuardSpec, Screened, Side, Verdict, guards
from multitask_bench.records import digest


@guards.add
class LinearGuard(GuardSpec):
    """Word and character n-grams; reads the request."""

    name: ClassVar[str] = "linear"
    version: ClassVar[int] = 1
    sides: ClassVar[tuple[Side, ...]] = ("prompt",)
    weights: str | None = None
    """A file that `mtb guards train` wrote; null: the bundled one."""

    @override
    def screen(self, items: Sequence[Screened]) -> list[Verdict]:
        model = self.opened()
        limit = model.threshold if self.threshold is None else self.threshold
        out = []
        for item, found in zip(items, model.read([item.prompt for item in items]), strict=True):
            flagged = found.score >= limit
            reason = f"words: {', '.join(found.words)}" if flagged and found.words else ""
            out.append(Verdict(id=item.id, flagged=flagged, score=found.score, reason=reason))
        return out

    def opened(self) -> _ngrams.Linear:
        """The model.

        Raises: DataError: no such file, or another one.
        """
        return _ngrams.load(self._raw(), where=self.weights or "linear")

    def _raw(self) -> bytes:
        if self.weights is None:
            return _bundled()
        path = Path(self.weights)
        if not path.is_file():
            raise DataError(f"{path}: no such file; make it with mtb guards train --out {path}.")
        return path.read_bytes()

    @property
    @override
    def config_hash(self) -> str:
        """The weights count by what they hold, not by where they are."""
        facts = {"guard": self.name, "version": self.version, "threshold": self.threshold, "on": self.on}
        return digest({**facts, "weights": hashlib.sha256(self._raw()).hexdigest()})[:16]


@functools.cache
def _bundled() -> bytes:
    return files("multitask_bench.guards").joinpath("weights", "linear.npz").read_bytes()
