"""XSTest (Röttger et al. 2024), arXiv:2308.01263: 200 unsafe prompts and 250 safe look-alikes."""

from __future__ import annotations

from typing import ClassVar

from typing_extensions import override

from multitask_bench.data.sources._spec import SourceRow, SourceSpec, sources
from multitask_bench.records import Row


@sources.add
class XSTest(SourceSpec):
    """The safe half is expected to be answered."""

    name: ClassVar[str] = "xstest"
    address: ClassVar[str | None] = (
        "https://raw.githubusercontent.com/paul-rottger/xstest/d7bb5bd738c1fcbc36edd83d5e7d1b71a3e2d84d/"
        "xstest_prompts.csv"
    )
    sha256: ClassVar[str | None] = "11783fb294ed017473ee53c207d71f2161c7672c8d0b037501e78387f801cb5a"
    licence: ClassVar[str] = "CC BY 4.0"
    paper: ClassVar[str] = "arXiv:2308.01263"
    request_column: ClassVar[str] = "prompt"

    @override
    def row(self, number: int, raw: Row) -> SourceRow | str:
        text = str(raw["prompt"] or "").strip()
        safe = str(raw.get("label") or "") == "safe"
        found = SourceRow(id=f"xstest-{number:04d}", text=text, category=raw.get("type"), benign=safe)
        return found if text else "empty"
