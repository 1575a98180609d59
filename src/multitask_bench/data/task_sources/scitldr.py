"""SciTLDR, abstracts only (Cachola et al. 2020), arXiv:2004.15011."""

from __future__ import annotations

from typing import ClassVar

from typing_extensions import override

from multitask_bench.data.task_sources._spec import Item, Part, Place, TaskSourceSpec, task_sources
from multitask_bench.errors import DataError
from multitask_bench.records import Row


@task_sources.add
class SciTldr(TaskSourceSpec):
    """Abstracts of computer science papers and a summary in one sentence, with the set's own splits.

    Validation and test rows have several summaries; the answer is the first.
    """

    name: ClassVar[str] = "scitldr"
    task: ClassVar[str] = "summarization"
    base: ClassVar[str | None] = (
        "https://raw.githubusercontent.com/allenai/scitldr/5ccad9c00a60ad75c9e04abf7f27d0f53f983b20/"
        "SciTLDR-Data/SciTLDR-A/"
    )
    parts: ClassVar[tuple[Part, ...]] = (
        Part("train.jsonl", "b222771d387be585cfdf5ae957b36757138415a352e0a3e3b23f73f87c3b1119", ("train",)),
        Part("dev.jsonl", "3191fa98ccc09521332b7a1cd63b1930be4e8df125a235ccd31e40329709525e", ("validation",)),
        Part("test.jsonl", "fb42dd6cd4f4a1928ae8a01a189456fbfe994a07e938bd49f68653933f6503c9", ("test",)),
    )
    licence: ClassVar[str] = "Apache-2.0"
    paper: ClassVar[str] = "arXiv:2004.15011"
    needed: ClassVar[tuple[str, ...]] = ("source", "target", "paper_id")
    wordings: ClassVar[tuple[str, ...]] = (
        "Summarize this abstract in a single sentence: {text}",
        "Write a one-sentence summary of the following abstract.\n\n{text}",
        "What is the main contribution of this paper? Answer in one sentence.\n\nAbstract: {text}",
        "Abstract:\n{text}\n\nState its key message in one sentence.",
        "Here is the abstract of a paper:\n{text}\n\nTell me in one sentence what it shows.",
        "Give a TLDR of this scientific abstract: {text}",
        "Read the abstract below and sum it up in one short sentence.\n\n{text}",
    )

    @override
    def item(self, number: int, raw: Row, place: Place) -> Item | str:
        where = f"{place.path} row {number}"
        sentences, summaries = _texts(raw, "source", where), _texts(raw, "target", where)
        text, answer = " ".join(filter(None, sentences)), next(filter(None, summaries), "")
        key = str(raw["paper_id"]).strip() or f"{number:04d}"
        return Item(key, text, self.worded(key, text=text), answer, place.part.splits)


def _texts(raw: Row, column: str, where: str) -> list[str]:
    value = raw[column]
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise DataError(f"{where}: '{column}' is not a list of sentences; is this another set's file?")
    return [" ".join(text.split()) for text in texts]
