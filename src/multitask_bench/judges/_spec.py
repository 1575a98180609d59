"""What every judge has: settings, a verb, and a hash that names its configuration."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from multitask_bench.records import digest
from multitask_bench.registry import Registry, Spec
from multitask_bench.schema import Judgment, Response


class JudgeSpec(Spec):
    """Decides what became of each response."""

    version: ClassVar[int]
    """Raised whenever the same settings can give another outcome."""
    measures_harm: ClassVar[bool] = False
    """Whether `complied` was judged for content, so that a rate may be called `harmful`."""

    def judge(self, responses: Sequence[Response]) -> list[Judgment]:
        """One judgment a response, in order, whatever the text is."""
        raise NotImplementedError

    @property
    def config_hash(self) -> str:
        """Sixteen hex digits that change with the judge's code version or settings."""
        return digest({"judge": self.name, "version": self.version, "settings": self.model_dump()})[:16]


judges: Registry[JudgeSpec] = Registry("judge", "multitask_bench.judges")
