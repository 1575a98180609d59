"""Questions, a table's CREATE statement and the SQL that answers: b-mc2/sql-create-context, its first thousand.

Cut by Wang et al. 2024, arXiv:2402.14968, from a set built on WikiSQL and Spider (arXiv:1709.00103,
arXiv:1809.08887).
"""

from __future__ import annotations

import re
from typing import ClassVar

from typing_extensions import override

from multitask_bench.data.task_sources._spec import Item, Part, Place, TaskSourceSpec, task_sources, text_of
from multitask_bench.errors import DataError
from multitask_bench.records import Row

_INPUT = re.compile(r"## Natural Language Query:\n(.*?)\n## Context:\n(.*)", re.S)


@task_sources.add
class SqlCreateContext(TaskSourceSpec):
    """1,000 questions with their SQL; the whole set and its Alpaca-like rewriting are read as local files."""

    name: ClassVar[str] = "sql_create_context"
    task: ClassVar[str] = "code"
    base: ClassVar[str | None] = (
        "https://raw.githubusercontent.com/Jayfeather1024/Backdoor-Enhanced-Alignment/"
        "e0b2fe738c0293f1ccfe73f7a3c3a351f2fb113f/opensource/ft_datasets/sqlgen_dataset/"
    )
    parts: ClassVar[tuple[Part, ...]] = (
        Part("train1000.json", "55beeb5c7af8f6653d3d6631aafc0300a831ae3c92d04b9abdcad22e2a4b2f57"),
    )
    licence: ClassVar[str] = "CC BY 4.0"
    paper: ClassVar[str] = "arXiv:2402.14968"
    wordings: ClassVar[tuple[str, ...]] = (
        "Write an SQL query for this question: {question}\nThe table: {context}",
        "{context}\n\nWhich SQL query answers this? {question}",
        "Given this schema:\n{context}\n\nTurn the question into SQL: {question}",
        "Question: {question}\nSchema: {context}\nSQL:",
        "I have these tables:\n{context}\nHow do I query this with SQL? {question}",
        "Express the following in SQL. {question}\n\n{context}",
    )

    @override
    def item(self, number: int, raw: Row, place: Place) -> Item | str:
        where = f"{place.path} row {number}"
        if {"instruction", "input", "output"} <= set(raw):
            found = _INPUT.fullmatch(text_of(raw, "input", where=where))
            if not found:
                raise DataError(
                    f"{where}: 'input' is not a question and a CREATE statement; read it as code_instructions."
                )
            question, context, answer = found[1].strip(), found[2].strip(), text_of(raw, "output", where=where)
        elif {"question", "context", "answer"} <= set(raw):
            question, context, answer = (text_of(raw, c, where=where) for c in ("question", "context", "answer"))
        else:
            raise DataError(
                f"{where}: neither question, context, answer nor instruction, input, output; "
                f"it has {', '.join(map(str, raw))}."
            )
        if not (question and context and answer):
            return "empty"
        key = f"{number:05d}"
        prompt = self.worded(key, question=question, context=context)
        return Item(key, f"{question}\n{context}", prompt, f"```sql\n{answer}\n```", place.part.splits)
