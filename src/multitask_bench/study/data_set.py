"""Writing sets: probes as a table, safety sets as a folder that `datasets` loads, each with its card."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from multitask_bench import __version__
from multitask_bench.data.foreign import ForeignRow
from multitask_bench.errors import ConfigError, MissingExtraError
from multitask_bench.records import dump_jsonl, whole_folder, write_table, write_text
from multitask_bench.schema import Conversation, Message, Probe
from multitask_bench.study.card import conversation_facts

NOTICE = (
    "This set holds harmful requests in general words, with refusals. It is made to keep or restore the guardrails of "
    "language models and to measure them. Do not train a model to comply with the requests."
)
_FRONT = """---
license: {licence}
language: [en, fr]
task_categories: [text-generation]
tags: [safety, refusal, multitask, fine-tuning]
configs:
- config_name: default
  data_files:
  - split: train
    path: train.jsonl
---

"""


def write_probes(path: Path, rows: Sequence[Probe]) -> None:
    """Write probes as jsonl, csv or parquet; the same probes give the same bytes."""
    table = []
    for row in rows:
        raw = row.model_dump(mode="json")
        raw["options"] = json.dumps(raw["options"], ensure_ascii=False) if raw["options"] else None
        table.append(row.model_dump(mode="json") if path.suffix == ".jsonl" else raw)
    write_table(path, table)


def training_rows(rows: Iterable[Conversation]) -> list[dict[str, Any]]:
    """Rows in the messages format, with what is known of each beside it."""
    out = []
    for row in rows:
        intent, _, template, language = (row.id.split(".") + [""] * 4)[:4]
        raw: dict[str, Any] = {"id": row.id, "kind": row.kind, "intent": intent, "template": template}
        raw |= {"language": "fr" if template.endswith("f") else "en", "text_language": language}
        out.append({**raw, "messages": [m.model_dump() for m in row.messages]})
    return out


def foreign_conversations(rows: Iterable[ForeignRow], name: str) -> list[Conversation]:
    """Another's pairs as training rows, ``id`` = name.form.row."""
    return [
        Conversation(
            id=f"{name}.{row.form}.{row.number:05d}",
            kind="safety",
            messages=(Message(role="user", content=row.prompt), Message(role="assistant", content=row.answer)),
        )
        for row in rows
    ]


def write_set(
    folder: Path,
    rows: Sequence[Conversation],
    *,
    settings: dict[str, Any],
    notes: Sequence[str],
    licence: str = "apache-2.0",
) -> None:
    """Write a safety set: train.jsonl, card.json, README.md (a data set card), NOTICE.txt.

    ``licence`` is the hub's identifier; another's set stays under its owner's (``other``).
    Raises: ConfigError: the folder exists.
    """
    if folder.exists():
        raise ConfigError(f"{folder}: exists already; give a new folder.")
    facts = {"made_by": f"multitask-bench {__version__}", "settings": settings, **conversation_facts(rows)}
    with whole_folder(folder) as part:
        write_text(part / "train.jsonl", dump_jsonl(training_rows(rows)))
        write_text(part / "card.json", json.dumps(facts, indent=1, ensure_ascii=False, sort_keys=True) + "\n")
        write_text(part / "README.md", _FRONT.format(licence=licence) + set_card(facts, notes))
        write_text(part / "NOTICE.txt", NOTICE + "\n")


def set_card(facts: dict[str, Any], notes: Sequence[str]) -> str:
    """The card of a safety set in Markdown."""
    lines = ["# Safety set", "", f"**Notice.** {NOTICE}", "", f"Made by {facts['made_by']}.", ""]
    lines += ["| | |", "|---|---|", f"| rows | {facts['rows']} |"]
    lines += [f"| {name} | {count} |" for name, count in facts["kinds"].items()]
    lines += [f"| language of the request: {name} | {count} |" for name, count in facts["languages"].items()]
    for name in ("refusals", "answers"):
        one = facts[name]
        if one["n"]:
            share = f"{100 * one['most_common_opening_share']:.1f} %"
            lines.append(
                f"| {name}: distinct; gzip ratio; most common five-word opening | {one['distinct']} of {one['n']}; "
                f"{one['gzip_ratio']:.3f}; {share} |"
            )
    lines += [f"| sha256 of the rows | `{facts['sha256']}` |", "", "**Settings.**", "", "```json"]
    lines += [json.dumps(facts["settings"], ensure_ascii=False, sort_keys=True), "```", ""]
    lines += [*(f"- {note}" for note in notes), ""]
    lines += [
        "Not to be used to train compliance, as a test set (its intents are training intents), or as a leaderboard.",
        "",
    ]
    return "\n".join(lines)


def push(folder: Path, repo: str) -> None:
    """Upload a set to the hub as a private data set, with its card.

    Raises: MissingExtraError: `datasets` is not installed. ConfigError: no such folder, or the hub says no.
    """
    try:
        import datasets
        from huggingface_hub import HfApi
    except ImportError as err:
        raise MissingExtraError.of("pushing a data set", "train") from err
    if not (folder / "train.jsonl").is_file():
        raise ConfigError(f"{folder}: no train.jsonl; build the set first.")
    rows = datasets.load_dataset("json", data_files=str(folder / "train.jsonl"), split="train")
    try:
        rows.push_to_hub(repo, private=True)
        HfApi().upload_file(
            path_or_fileobj=str(folder / "README.md"), path_in_repo="README.md", repo_id=repo, repo_type="dataset"
        )
    except Exception as err:
        raise ConfigError(f"{repo}: the hub did not take it ({str(err).splitlines()[0]}).") from err
