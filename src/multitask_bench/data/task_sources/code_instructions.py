"""Code instructions in Alpaca's format, by default iamtarun/python_code_instructions_18k_alpaca on the hub.

The paper's code set joins an Alpaca ``input`` field to its prompts and fits this family; which member
it was is not stated. Format: Taori et al. 2023, after Self-Instruct, arXiv:2212.10560.
"""

from __future__ import annotations

from typing import ClassVar

from typing_extensions import override

from multitask_bench.data.task_sources._spec import Item, Part, Place, TaskSourceSpec, task_sources, text_of
from multitask_bench.records import Row

NO_INPUT = ("", "not applicable", "n/a", "none", "no input", "noinput", "<noinput>")
"""What such sets write where an instruction needs no input."""


@task_sources.add
class CodeInstructions(TaskSourceSpec):
    """18,612 instructions with Python answers; a local file may be any set of that format.

    Reads json, jsonl, csv and parquet with ``instruction``, ``output`` and maybe ``input``, such as
    sahil2801/CodeAlpaca-20k. The instructions are worded by many; none is added.
    """

    name: ClassVar[str] = "code_instructions"
    task: ClassVar[str] = "code"
    base: ClassVar[str | None] = (
        "https://huggingface.co/datasets/iamtarun/python_code_instructions_18k_alpaca/resolve/"
        "7cae181e29701a8663a07a3ea43c8e105b663ba1/data/"
    )
    parts: ClassVar[tuple[Part, ...]] = (
        Part(
            "train-00000-of-00001-8b6e212f3e1ece96.parquet",
            "bbc6fa528fcc17a845e863da8652bc02c2523373cd8cc0b9af1ffb374e9ae378",
        ),
    )
    licence: ClassVar[str] = (
        "none on its card; of CodeAlpaca-20k: CC BY 4.0 (hub card), CC BY-NC 4.0 (its GitHub repository)"
    )
    paper: ClassVar[str] = "none (format after arXiv:2212.10560)"
    needed: ClassVar[tuple[str, ...]] = ("instruction", "output")

    @override
    def item(self, number: int, raw: Row, place: Place) -> Item | str:
        where = f"{place.path} row {number}"
        instruction, given, answer = (text_of(raw, c, where=where) for c in ("instruction", "input", "output"))
        if not instruction:
            return "empty"
        text = instruction if given.lower().rstrip(".") in NO_INPUT else f"{instruction}\n{given}"
        key = f"{number:05d}"
        return Item(key, text, self.worded(key, text=text), answer, place.part.splits)

    @override
    def what_to_give(self) -> str:
        return "one json, jsonl, csv or parquet file with the columns instruction, input and output"
