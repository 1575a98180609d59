"""MBPP, mostly basic Python problems (Austin et al. 2021), arXiv:2108.07732."""

from __future__ import annotations

from typing import ClassVar

from typing_extensions import override

from multitask_bench.data.task_sources._spec import Item, Part, Place, TaskSourceSpec, task_sources, text_of
from multitask_bench.errors import DataError
from multitask_bench.records import Row
from multitask_bench.schema import Split


@task_sources.add
class Mbpp(TaskSourceSpec):
    """974 small problems with a solution and tests.

    The prompt shows the first test, without which the name of the function could not be known. Splits
    are the paper's by task id: 1-10 (its few-shot examples) and 601-974 train, 511-600 validation,
    11-510 test. A preparation that the tests need stands in front of them.
    """

    name: ClassVar[str] = "mbpp"
    task: ClassVar[str] = "code"
    base: ClassVar[str | None] = (
        "https://raw.githubusercontent.com/google-research/google-research/"
        "4700efb9afa54286b0e04473ba80a13e8461e25f/mbpp/"
    )
    parts: ClassVar[tuple[Part, ...]] = (
        Part("mbpp.jsonl", "ccf64ceae9c5403bf50a044cb6d505bfd2a2963ee58338ba268fd65beab92a9f"),
    )
    licence: ClassVar[str] = "CC BY 4.0"
    paper: ClassVar[str] = "arXiv:2108.07732"
    needed: ClassVar[tuple[str, ...]] = ("text", "code", "task_id", "test_list")
    wordings: ClassVar[tuple[str, ...]] = (
        "{text}\nIt should pass this test: {test}",
        "{text}\n\nExample:\n{test}",
        "Solve this in Python. {text}\nTest: {test}",
        "Here is a programming task: {text}\nYour function will be checked with\n{test}",
        "I need Python code for this task.\n{text}\nThis must hold afterwards: {test}",
        "{text} The call looks as in this test:\n{test}",
    )

    @override
    def item(self, number: int, raw: Row, place: Place) -> Item | str:
        where = f"{place.path} row {number}"
        tests = raw["test_list"]
        if not isinstance(tests, list) or not all(isinstance(test, str) for test in tests):
            raise DataError(f"{where}: 'test_list' is not a list of tests; is this another set's file?")
        try:
            task_id = int(raw["task_id"])
        except (TypeError, ValueError):
            raise DataError(f"{where}: task_id is not a number.") from None
        text, code = (text_of(raw, column, where=where) for column in ("text", "code"))
        if not (text and code and tests):
            return "empty"
        setup = text_of(raw, "test_setup_code", where=where)
        key = f"{task_id:04d}"
        prompt = self.worded(key, text=text, test=tests[0].strip())
        checks = tuple(filter(None, (setup, *(test.strip() for test in tests))))
        return Item(key, text, prompt, f"```python\n{code}\n```", (_split(task_id),), checks)


def _split(task_id: int) -> Split:
    if 11 <= task_id <= 510:
        return "test"
    return "validation" if 511 <= task_id <= 600 else "train"
