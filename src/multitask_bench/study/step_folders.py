"""Where the steps of a run keep what they make, and where the weights of an arm lie."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from multitask_bench.models.load import Local
from multitask_bench.study.steps import Source

SELECTION = "selection.json"
"""In the folder of a choice among settings: the one taken, and the figures of all."""


class StepFolders(NamedTuple):
    """The step folders of one run."""

    run: Path

    @property
    def logs(self) -> Path:
        """Where finished logs stand, all beside each other."""
        return self.run / "logs"

    def of(self, key: str) -> Path:
        """Where a step keeps its result."""
        return self.run / "steps" / key

    def done(self, key: str) -> bool:
        """Whether a step's result is there."""
        return any((self.of(key) / name).exists() for name in ("done.json", "adapter", "model"))

    def weights(self, source: Source) -> tuple[Path, Path | None]:
        """Base folder and adapter folder of a local source."""
        given = source.given
        base = self.of(source.base_step) / "model" if source.base_step else None
        adapter = self.of(source.adapter_step) / "adapter" if source.adapter_step else None
        if base is None:
            assert isinstance(given, Local), "a local source has a folder"
            base, adapter = given.folder, adapter or given.adapter
        return base, adapter
