"""Tatoeba Translation Challenge, English-French test set v2021-08-07 (Tiedemann 2020), arXiv:2010.06354."""

from __future__ import annotations

from typing import ClassVar

from multitask_bench.data.task_sources._pairs import OPUS_MT_TESTSETS, LinePairs, pair
from multitask_bench.data.task_sources._spec import Part, task_sources


@task_sources.add
class Tatoeba(LinePairs):
    """12,681 short everyday sentences; a sentence with several translations has a row for each.

    Its authors ask not to train on it if results are to be compared on their leader board.
    """

    name: ClassVar[str] = "tatoeba"
    base: ClassVar[str | None] = OPUS_MT_TESTSETS
    parts: ClassVar[tuple[Part, ...]] = pair(
        "tatoeba-test-v2021-08-07",
        "714a848bd6ab4421cafd1b9b09fd26328306fab1bc8006e820fa77a8cbe57636",
        "095313ff04016e5ddeff7557d1c5590f19724d239e424cab313b2d03ca66d365",
    )
    licence: ClassVar[str] = "CC BY 2.0 (sentences, Helsinki-NLP/tatoeba_mt); CC BY-NC-SA 4.0 (Tatoeba-Challenge)"
    paper: ClassVar[str] = "arXiv:2010.06354"
