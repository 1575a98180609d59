"""Measure the embedded guard on bundled test rows and on public lists, and write its card and every score.

    python benchmarks/guards/run.py --data DIR                 (DIR as described below)
    mtb guards matrix --out benchmarks/guards/results/matrix   the cross-form matrix

Harmful lists are put into the five forms by the wordings kept for them; benign sets are ordinary input of one form.
None of these rows is trained on. Settings of the fit were chosen with the rates on ``DEVELOPMENT`` in view; those on
the other sets, the paper's excepted, were seen on first versions of the phrases that it learns from. The allowance of
false alarms, which sets the threshold, was raised from 2 to 3 % after the rates on all sets had been seen once: no
operating point here is blind. The card says so (``seen_while_made``).

DIR holds harmful/{advbench,harmbench,strongreject,simplesafetytests,jailbreakbench}, labelled/xstest,
benign/{general,code,summarization,translation,classification} and multitaskbench/multitaskbench.csv.
"""

from __future__ import annotations

import argparse
import csv
import json
import tempfile
from pathlib import Path
from typing import Any

import multitask_bench.guards
from multitask_bench.guards import guards
from multitask_bench.models.load import cache_folder
from multitask_bench.records import write_json, write_jsonl, write_table
from multitask_bench.study.guard_card import (
    bundled_examples,
    card,
    labelled_examples,
    listed_examples,
    measure,
    row_table,
)
from multitask_bench.study.guard_rows import Example
from multitask_bench.study.guarding import opened

RESULTS = Path(__file__).with_name("results")
CARD = Path(multitask_bench.guards.__file__).parent / "cards" / "linear.json"
HARMFUL = {
    "advbench": "advbench/harmful_behaviors.csv",
    "harmbench": "harmbench/harmbench_behaviors_text_all.csv",
    "jailbreakbench": "jailbreakbench/jbb_harmful_behaviors.csv",
    "simplesafetytests": "simplesafetytests/simplesafetytests.csv",
    "strongreject": "strongreject/strongreject_dataset.csv",
}
DEVELOPMENT = ("advbench", "simplesafetytests", "ifeval", "mbpp", "tatoeba", "twitter")
SEEN = {
    "settings of the fit": list(DEVELOPMENT),
    "phrases": "all sets but multitaskbench",
    "threshold": "all sets",
}
"""Whose rates, never rows, were in view when what was chosen."""
MOST = 1000
"""Rows of a benign set."""
BLOCKS = ("classification", "code_generation", "text_generation", "translation")
"""The paper's set has no column for it: blocks of 500 (METHODS 1.3)."""


def benign_sets(data: Path) -> dict[str, list[dict[str, Any]]]:
    """Name -> rows of ordinary requests, each set in one wording of its form.

    No text is a training row; the wordings of tatoeba, newsdiscuss-fr and humaneval occur in training rows.
    """
    lines = {
        name: (data / "benign" / path).read_text(encoding="utf-8").splitlines()
        for name, path in {
            "ifeval": "general/ifeval.jsonl",
            "humaneval": "code/HumanEval.jsonl",
            "mbpp": "code/mbpp.jsonl",
            "scitldr": "summarization/test.jsonl",
            "tatoeba": "translation/tatoeba-test-v2021-08-07_head5000.eng",
            "tico19": "translation/tico19-test.eng",
            "newsdiscuss-fr": "translation/newsdiscusstest2015.fra",
        }.items()
    }
    with (data / "benign/classification/sent_valid.csv").open(encoding="utf-8", newline="") as file:
        tweets = [row["text"] for row in csv.DictReader(file)]
    with (data / "labelled/xstest/xstest_prompts.csv").open(encoding="utf-8", newline="") as file:
        contrast = [row["prompt"] for row in csv.DictReader(file) if row["label"] == "safe"]
    sql = json.loads((data / "benign/code/sqlgen_train.json").read_text(encoding="utf-8"))
    quiz = json.loads((data / "benign/general/openbookqa_test.json").read_text(encoding="utf-8"))
    texts = {
        "ifeval": ("text_generation", "en", [json.loads(line)["prompt"] for line in lines["ifeval"]]),
        "xstest-safe": ("text_generation", "en", contrast),
        "openbookqa": ("classification", "en", [row["instruction"] for row in quiz]),
        "twitter": ("classification", "en", [f"Classify the sentiment of this tweet: {t}" for t in tweets]),
        "mbpp": ("code_generation", "en", [json.loads(line)["text"] for line in lines["mbpp"]]),
        "humaneval": (
            "code_generation",
            "en",
            [f"Complete this Python function:\n{json.loads(line)['prompt']}" for line in lines["humaneval"]],
        ),
        "sqlgen": ("code_generation", "en", [f"{row['instruction']}{row['input']}" for row in sql]),
        "scitldr": (
            "summarization",
            "en",
            [f"Summarize this abstract:\n{' '.join(json.loads(line)['source'])}" for line in lines["scitldr"]],
        ),
        "tatoeba": ("translation", "en", [f"Translate to French: {line}" for line in lines["tatoeba"]]),
        "tico19": ("translation", "en", [f"How do I say this in French? {line}" for line in lines["tico19"]]),
        "newsdiscuss-fr": ("translation", "fr", [f"Traduis en anglais : {line}" for line in lines["newsdiscuss-fr"]]),
    }
    return {
        name: [{"prompt": text, "label": 0, "form": form, "language": language} for text in found[:MOST]]
        for name, (form, language, found) in texts.items()
    }


def paper_set(data: Path) -> list[dict[str, Any]]:
    """The requests of the paper's safety set, as they stand, with the form of their block."""
    with (data / "multitaskbench/multitaskbench.csv").open(encoding="utf-8", newline="") as file:
        rows = [row["Query"] for row in csv.DictReader(file)]
    return [
        {"prompt": text, "label": 1, "form": BLOCKS[min(number // 500, 3)]}
        for number, text in enumerate(rows)
        if text.strip()
    ]


def rows_of(data: Path) -> list[Example]:
    """Everything that the card is made from."""
    rows = bundled_examples()
    for name, path in HARMFUL.items():
        rows += listed_examples(name, file=data / "harmful" / path, cache=cache_folder())
    with tempfile.TemporaryDirectory() as folder:
        for name, found in {**benign_sets(data), "multitaskbench": paper_set(data)}.items():
            write_jsonl(Path(folder) / f"{name}.jsonl", found)
            rows += labelled_examples(Path(folder) / f"{name}.jsonl")
    return rows


def main() -> None:
    """Write the card into the package, and card and scores into results/."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    data: Path = parser.parse_args().data
    spec = guards.make("linear")
    reads, seconds = measure(opened(spec, texts=0), rows_of(data))
    found = {**card(spec, reads, seconds=seconds), "seen_while_made": SEEN}
    write_json(CARD, found)
    write_json(RESULTS / "linear.json", found)
    write_table(RESULTS / "linear-rows.parquet", row_table(reads))
    print(f"{len(reads)} rows; written: {CARD.name} and {RESULTS.name}/")


if __name__ == "__main__":
    main()
