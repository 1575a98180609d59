"""WMT 2015 English-French test set: readers' comments on news (Bojar et al. 2015), aclanthology.org/W15-3001."""

from __future__ import annotations

from typing import ClassVar

from multitask_bench.data.task_sources._pairs import OPUS_MT_TESTSETS, LinePairs, pair
from multitask_bench.data.task_sources._spec import Part, task_sources


@task_sources.add
class NewsDiscuss(LinePairs):
    """1,500 sentences from comments in the Guardian and Le Monde, opinionated and at times coarse."""

    name: ClassVar[str] = "newsdiscuss"
    base: ClassVar[str | None] = OPUS_MT_TESTSETS
    parts: ClassVar[tuple[Part, ...]] = pair(
        "newsdiscusstest2015",
        "7527c3cde95379afdba3a13bab4aac237aceabc1d2f1ed2c31971e1be672266a",
        "8e38ea9cf6fb7f543e6a3e17ab3b377bec11248e76be55a88d6d7d9ed340430e",
    )
    licence: ClassVar[str] = "none named; WMT gives its data for research, other uses are with the owners of the texts"
    paper: ClassVar[str] = "aclanthology.org/W15-3001"
