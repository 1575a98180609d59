"""TICO-19, English-French test set (Anastasopoulos et al. 2020), arXiv:2007.01788."""

from __future__ import annotations

from typing import ClassVar

from multitask_bench.data.task_sources._pairs import OPUS_MT_TESTSETS, LinePairs, pair
from multitask_bench.data.task_sources._spec import Part, task_sources


@task_sources.add
class Tico19(LinePairs):
    """2,100 sentences on COVID-19: talk with a doctor, encyclopedia, news, papers."""

    name: ClassVar[str] = "tico19"
    base: ClassVar[str | None] = OPUS_MT_TESTSETS
    parts: ClassVar[tuple[Part, ...]] = pair(
        "tico19-test",
        "d26d42b38d0c1c05f33834651eea4b884bf2da447f45c7ead8a6dbfea8ae30de",
        "75c69f626f8ab1d14fb881ac2c5e87902da20658923b17c6151e81e439253a7a",
    )
    licence: ClassVar[str] = "CC0 1.0"
    paper: ClassVar[str] = "arXiv:2007.01788"
