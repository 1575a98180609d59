"""Twitter Financial News Sentiment, on the hub as zeroshot/twitter-financial-news-sentiment; no paper."""

from __future__ import annotations

import html
import re
from typing import ClassVar

from typing_extensions import override

from multitask_bench.data.task_sources._spec import HELD, Item, Part, Place, TaskSourceSpec, task_sources, text_of
from multitask_bench.errors import DataError
from multitask_bench.records import Row

NAMES = {"0": "negative", "1": "positive", "2": "neutral"}
"""Its card: LABEL_0 bearish, LABEL_1 bullish, LABEL_2 neutral."""
_LINK = re.compile(r"(?:https?://|\bt\.co/)\S+")


@task_sources.add
class TwitterFinancialNews(TaskSourceSpec):
    """Tweets on markets and how they look to investors; links are cut out of the texts.

    The set's own validation file is dealt half to validation, half to test.
    """

    name: ClassVar[str] = "twitter_financial_news"
    task: ClassVar[str] = "classification"
    base: ClassVar[str | None] = (
        "https://huggingface.co/datasets/zeroshot/twitter-financial-news-sentiment/resolve/"
        "ccbe24de388e287beb92dd393a335c376b350ac3/"
    )
    parts: ClassVar[tuple[Part, ...]] = (
        Part("sent_train.csv", "71aa99d0d37feced03c999ec23b5b25302c92f39d69b6acb0a37aa076c5420e8", ("train",)),
        Part("sent_valid.csv", "31ea8274c98b52212daa68f2fb962811bf1913c1efe51b99765c8e2311806de6", HELD),
    )
    licence: ClassVar[str] = "MIT"
    paper: ClassVar[str] = "none (huggingface.co/datasets/zeroshot/twitter-financial-news-sentiment)"
    needed: ClassVar[tuple[str, ...]] = ("text", "label")
    one_answer: ClassVar[bool] = True
    wordings: ClassVar[tuple[str, ...]] = (
        "Is this headline negative, neutral or positive for investors? {text}",
        "What is the sentiment of this financial post: positive, neutral or negative? One word.\n{text}",
        "{text}\n\nSentiment for the market (negative, positive or neutral):",
        "Read this market news and answer with neutral, positive or negative.\n\n{text}",
        "How would an investor take this, as positive, negative or neutral news?\n{text}",
        "Financial news: {text}\nReply with exactly one of: negative, neutral, positive.",
        "Would you call the following good (positive), bad (negative) or neutral for the shares? {text}",
    )

    @override
    def item(self, number: int, raw: Row, place: Place) -> Item | str:
        where = f"{place.path} row {number}"
        label = str(raw["label"]).strip()
        if label not in NAMES:
            raise DataError(f"{where}: label '{label}' is none of 0 (bearish), 1 (bullish) and 2 (neutral).")
        text = " ".join(_LINK.sub(" ", html.unescape(text_of(raw, "text", where=where))).split())
        key = f"{place.part.file_name.removesuffix('.csv').removeprefix('sent_')}-{number:05d}"
        return Item(key, text, self.worded(key, text=text), NAMES[label], place.part.splits)
