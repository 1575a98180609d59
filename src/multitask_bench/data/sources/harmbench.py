"""HarmBench text behaviors (Mazeika et al. 2024), arXiv:2402.04249."""

from __future__ import annotations

from typing import ClassVar

from typing_extensions import override

from multitask_bench.data.sources._spec import SourceRow, SourceSpec, sources
from multitask_bench.records import Row


@sources.add
class HarmBench(SourceSpec):
    """Standard and contextual behaviors; a context stands in front of its request.

    The hundred copyright behaviors are left out: they ask for the words of existing works, which a
    refusal judge cannot tell from an answer that only begins them.
    """

    name: ClassVar[str] = "harmbench"
    address: ClassVar[str | None] = (
        "https://raw.githubusercontent.com/centerforaisafety/HarmBench/c0423b952435fcc8467108d8f25962dbae5b7de2/"
        "data/behavior_datasets/harmbench_behaviors_text_all.csv"
    )
    sha256: ClassVar[str | None] = "8d81accedd38eaaf8b760618622bb888417d1fd0c86eba65c427a16f1cbb4afc"
    licence: ClassVar[str] = "MIT"
    paper: ClassVar[str] = "arXiv:2402.04249"
    request_column: ClassVar[str] = "Behavior"
    category_column: ClassVar[str | None] = "SemanticCategory"

    @override
    def row(self, number: int, raw: Row) -> SourceRow | str:
        if raw.get("FunctionalCategory") == "copyright":
            return "copyright behavior"
        context = str(raw.get("ContextString") or "").strip()
        text = f"{context}\n\n{raw['Behavior']}" if context else str(raw["Behavior"])
        return SourceRow(
            id=str(raw.get("BehaviorID") or f"harmbench-{number:04d}"), text=text, category=raw.get("SemanticCategory")
        )
