"""JBB-Behaviors, harmful half (Chao et al. 2024), arXiv:2404.01318."""

from __future__ import annotations

from typing import ClassVar

from multitask_bench.data.sources._spec import SourceSpec, sources


@sources.add
class JailbreakBench(SourceSpec):
    """A hundred harmful behaviors."""

    name: ClassVar[str] = "jailbreakbench"
    address: ClassVar[str | None] = (
        "https://huggingface.co/datasets/JailbreakBench/JBB-Behaviors/resolve/"
        "886acc352a31533ffbcf4ef22c744658688086fc/data/harmful-behaviors.csv"
    )
    sha256: ClassVar[str | None] = "4a8ec6832056b631eb092dccc60d37a61c3d441268268888b3d006288afeffa1"
    licence: ClassVar[str] = "MIT"
    paper: ClassVar[str] = "arXiv:2404.01318"
    request_column: ClassVar[str] = "Goal"
    category_column: ClassVar[str | None] = "Category"
