"""AdvBench, harmful behaviors (Zou et al. 2023), arXiv:2307.15043."""

from __future__ import annotations

from typing import ClassVar

from multitask_bench.data.sources._spec import SourceSpec, sources


@sources.add
class AdvBench(SourceSpec):
    """Harmful behaviors, 520 instructions."""

    name: ClassVar[str] = "advbench"
    address: ClassVar[str | None] = (
        "https://raw.githubusercontent.com/llm-attacks/llm-attacks/"
        "098262edf85f807224e70ecd87b9d83716bf6b73/data/advbench/harmful_behaviors.csv"
    )
    sha256: ClassVar[str | None] = "6cd1a5c63c07610d7eb67307772ee5606017ee950b5770ab288a2c487489d3e1"
    licence: ClassVar[str] = "MIT"
    paper: ClassVar[str] = "arXiv:2307.15043"
    request_column: ClassVar[str] = "goal"
