"""SimpleSafetyTests (Vidgen et al. 2023), arXiv:2311.08370; on the hub as Bertievidgen/SimpleSafetyTests."""

from __future__ import annotations

from typing import ClassVar

from multitask_bench.data.sources._spec import SourceSpec, sources


@sources.add
class SimpleSafetyTests(SourceSpec):
    """A hundred short prompts in five harm areas; its child-safety area is dropped at reading."""

    name: ClassVar[str] = "simplesafetytests"
    licence: ClassVar[str] = "CC BY 4.0"
    paper: ClassVar[str] = "arXiv:2311.08370"
    request_column: ClassVar[str] = "prompts_final"
    category_column: ClassVar[str | None] = "harm_area"
