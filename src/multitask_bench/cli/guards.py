"""`mtb guards`: the embedded guard trained, any guard measured, its card, and the cross-form matrix."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from multitask_bench.guards import GuardSpec
    from multitask_bench.study.guard_rows import Example

app = typer.Typer(no_args_is_help=True, help="Train, measure and compare guards; see `mtb list guards` for the names.")


@app.callback()
def _group() -> None:
    pass


@app.command("train")
def train(
    out: Annotated[Path, typer.Option("--out", help="The file to write, .npz; a .json beside it says what it holds.")],
    data: Annotated[
        Path | None, typer.Option("--data", help="Your rows: csv, jsonl or parquet with prompt and label.")
    ] = None,
    forms: Annotated[
        list[str] | None, typer.Option("--forms", help="Keep to these forms of the bundled rows.", show_default="all")
    ] = None,
    only_data: Annotated[bool, typer.Option("--only-data", help="Train on DATA alone.")] = False,
) -> None:
    """Train the embedded guard on the bundled training rows and on DATA, and write it to OUT.

    A label is 1, true or harmful, or 0, false or benign; form, language and id are optional columns. One
    in five of your rows is left for the threshold. The same rows give the same file on the same machine.
    Takes about a minute. Use it with --weights OUT; measure it with mtb guards measure.

      mtb guards train --out my-guard.npz --data my-requests.jsonl
    """
    from multitask_bench.errors import ConfigError
    from multitask_bench.records import write_bytes, write_json
    from multitask_bench.study.guard_training import train_linear
    from multitask_bench.study.progress import Reporter

    names = _forms(forms)
    if only_data and data is None:
        raise ConfigError("--only-data goes with --data FILE.")
    if only_data and forms:
        raise ConfigError("--forms chooses among the bundled rows, which --only-data leaves out.")
    if out.suffix != ".npz":
        raise ConfigError(f"{out}: the file's name ends in .npz.")
    with Reporter.make().step("training"):
        made = train_linear(form_names=names, own=data, bundled=not only_data)
    write_bytes(out, made.model.dump())
    write_json(out.with_suffix(".json"), made.facts)
    for name, count in made.facts["rows"].items():
        typer.echo(f"trained on {count} rows: {name}")
    for name, found in made.facts["validation_stopped"].items():
        typer.echo(f"validation, {name}: {found['stopped']} of {found['n']} stopped")
    if made.facts["dropped"]:
        typer.echo(f"left out: {made.facts['dropped']} rows on sexual harm to minors")
    typer.echo(f"threshold {made.facts['threshold']}; {out.stat().st_size // 1000} kB")
    typer.echo(f"written: {out}")


def _forms(names: list[str] | None) -> tuple[str, ...]:
    from multitask_bench.errors import UnknownNameError
    from multitask_bench.study.probes import FORMS

    chosen = [name.strip() for some in names or () for name in some.split(",")]
    for name in chosen:
        if name not in FORMS:
            raise UnknownNameError.of("form", name, FORMS)
    return tuple(name for name in FORMS if not chosen or name in chosen)


@app.command("measure")
def measure(
    guard_name: Annotated[str, typer.Option("--guard", help="Name of the guard; see mtb list guards.")] = "linear",
    harmful: Annotated[
        list[str] | None,
        typer.Option("--harmful", help="A list of harmful requests, put into every form: NAME, NAME=FILE or FILE."),
    ] = None,
    benign: Annotated[
        list[str] | None,
        typer.Option("--benign", help="A file of benign requests of one form, as they stand: FORM=FILE."),
    ] = None,
    labelled: Annotated[
        list[str] | None,
        typer.Option("--labelled", help="A table with prompt, label and optional form and language, as it stands."),
    ] = None,
    intents: Annotated[
        int | None, typer.Option("--intents", help="So many bundled intents, for guards that are slow.")
    ] = None,
    no_bundled: Annotated[bool, typer.Option("--no-bundled", help="Measure on your lists alone.")] = False,
    threshold: Annotated[float | None, typer.Option("--threshold", help="Score from which an item is stopped.")] = None,
    model: Annotated[str | None, typer.Option("--model", help="Model of guards that have one.")] = None,
    revision: Annotated[str | None, typer.Option("--revision", help="Commit of a hub model.")] = None,
    base_url: Annotated[str | None, typer.Option("--base-url", help="Server of openai_moderation.")] = None,
    weights: Annotated[str | None, typer.Option("--weights", help="Of linear: what mtb guards train wrote.")] = None,
    allow_remote: Annotated[
        list[str] | None, typer.Option("--allow-remote", help="Provider or host that may be sent the texts.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="Write the card here and not to the cards that mtb knows.")
    ] = None,
    rows: Annotated[
        Path | None, typer.Option("--rows", help="Also write each row's score, without its text: csv, jsonl, parquet.")
    ] = None,
) -> None:
    """Measure a guard on requests it never saw; print what it stops by form, and write its card.

    Bundled: harmful probes, benign twins and the tasks' own rows, of test intents in held-out wordings. A
    row without a verdict is counted, and never as let pass. Measuring again replaces the card.

      mtb guards measure --guard linear --harmful advbench=harmful_behaviors.csv --benign text_generation=chat.jsonl
    """
    from multitask_bench.errors import ConfigError
    from multitask_bench.guards._card import keep_card
    from multitask_bench.records import write_json, write_table
    from multitask_bench.study.guard_card import card, labelled_examples, row_table
    from multitask_bench.study.guard_card import measure as read_all
    from multitask_bench.study.guarding import made, opened
    from multitask_bench.study.progress import Reporter

    settings = {"threshold": threshold, "model": model, "revision": revision, "base_url": base_url, "weights": weights}
    spec = made(guard_name, settings)
    own = [row for file in labelled or [] for row in labelled_examples(Path(file))]
    wanted = [*_rows(harmful or [], benign or [], intents, bundled=not no_bundled), *own]
    if not wanted:
        raise ConfigError("nothing to measure on: give --harmful, --benign or --labelled, or drop --no-bundled.")
    reporter = Reporter.make()
    ready = opened(spec, allowed=tuple(allow_remote or ()), texts=len(wanted))
    with reporter.step(f"reading {len(wanted)} requests") as tick:
        reads, seconds = read_all(ready, wanted, tick=tick)
    found = card(spec, reads, seconds=seconds)
    for line in card_lines(found):
        typer.echo(line)
    if rows is not None:
        write_table(rows, row_table(reads))
        typer.echo(f"written: {rows}")
    if out is not None:
        write_json(out, found)
    typer.echo(f"written: {out or keep_card(spec, found)}")


def _rows(harmful: list[str], benign: list[str], intents: int | None, *, bundled: bool) -> list[Example]:
    from multitask_bench.errors import ConfigError
    from multitask_bench.records import cache_folder
    from multitask_bench.study.guard_card import benign_examples, bundled_examples, listed_examples

    out = bundled_examples(intents) if bundled else []
    for text in harmful:
        name, _, file = text.partition("=")
        out += listed_examples(name, file=Path(file) if file else None, cache=cache_folder())
    for text in benign:
        form, given, file = text.partition("=")
        if not given:
            raise ConfigError(f"--benign {text}: say of which form, as in --benign text_generation={text}.")
        out += benign_examples(form, Path(file), cache=cache_folder())
    return out


@app.command("card")
def show(
    guard_name: Annotated[str, typer.Argument(metavar="GUARD", help="Name of the guard; see mtb list guards.")],
    threshold: Annotated[float | None, typer.Option("--threshold", help="Of the configuration measured.")] = None,
    model: Annotated[str | None, typer.Option("--model", help="Of the configuration measured.")] = None,
    weights: Annotated[str | None, typer.Option("--weights", help="Of the configuration measured.")] = None,
) -> None:
    """Print the card of a guard, the bundled one or that of mtb guards measure. Writes nothing.

    mtb guards card linear
    """
    from multitask_bench.errors import DataError
    from multitask_bench.guards._card import card_of
    from multitask_bench.study.guarding import made

    spec = made(guard_name, {"threshold": threshold, "model": model, "weights": weights})
    found = card_of(spec)
    if found is None:
        raise DataError(
            f"the guard '{spec.name}' ({spec.config_hash}) is unmeasured here; mtb guards measure --guard {guard_name}."
        )
    for line in card_lines(found):
        typer.echo(line)


@app.command("matrix")
def matrix(
    out: Annotated[
        Path | None,
        typer.Option("--out", help="Folder for matrix.json, matrix.md and rows.parquet; its files are replaced."),
    ] = None,
    run: Annotated[
        Path | None,
        typer.Option("--run", help="Run folder to put it into: cross_form.json and .parquet, results and report anew."),
    ] = None,
) -> None:
    """Train a guard on each form, test it on all: how far does what a guard learns carry over?

    Disjoint intents, unseen wordings and equal numbers in every cell. Needs no model and no network; about
    two minutes. The third finding of the paper, rerun. rows.parquet holds every score, from which the
    matrix can be computed again. With --run it stands in that run's report from then on; it says nothing of
    the run's models.

      mtb guards matrix --out matrix

      mtb guards matrix --run runs/mitigate
    """
    from multitask_bench.records import write_json, write_table, write_text
    from multitask_bench.study.folder import alone, load_run, sum_up
    from multitask_bench.study.guard_matrix import CROSS_FORM, cross_form, markdown, write_cross_form
    from multitask_bench.study.ledger import log_paths
    from multitask_bench.study.progress import Reporter

    if run is not None:  # told before two minutes of work
        load_run(run)
        log_paths(run / "logs")
    with Reporter.make().step("training and testing") as tick:
        found = cross_form(tick=tick)
    text = markdown(found)
    typer.echo(text)
    if out is not None:
        write_json(out / "matrix.json", found.document())
        write_table(out / "rows.parquet", found.rows)
        write_text(out / "matrix.md", text)
        typer.echo(f"written: {out}")
    if run is not None:
        with alone(run):
            write_cross_form(run, found)
            finished = sum_up(run)
        typer.echo(f"written: {run / CROSS_FORM}")
        typer.echo(f"report: {finished.report}")


def card_lines(found: dict[str, Any]) -> list[str]:
    """A card as lines of text."""
    out = [f"guard {found['guard']} ({found['config_hash']}), reads the {found['on']}"]
    for row in found["measured"]:
        what = {"twin": "benign twins", "task": "the task's own rows"}.get(
            row["kind"], "harmful requests" if row["harmful"] else "benign requests"
        )
        silent = f", {row['without_verdict']} without a verdict" if row["without_verdict"] else ""
        place = f"{row['set']:<22} {row['form']:<16} {row['language']}  {what:<20}"
        out.append(f"  {place} stopped {_shown(row['stopped'])}{silent}")
    for row in found["auc"]:
        out.append(f"  AUC {row['set']:<18} {row['form']:<16} against {row['against']:<14} {_area(row)}")
    if "latency_ms" in found:
        out.append(f"{found['latency_ms']} ms a text on the machine that measured")
    return [*out, "not measured: " + ("; ".join(found["not_measured"]) or "nothing that a card knows of")]


def _shown(rate: dict[str, Any]) -> str:
    if rate["value"] is None:
        return f"- (n={rate['n']})"
    return f"{rate['value']:.1%} [{rate['low']:.1%}, {rate['high']:.1%}] (n={rate['n']})"


def _area(row: dict[str, Any]) -> str:
    return f"{row['value']:.3f} [{row['low']:.3f}, {row['high']:.3f}]"


def summary(spec: GuardSpec) -> str:
    """One line for `mtb list guards`."""
    from multitask_bench.guards._card import card_of

    found = card_of(spec)
    if found is None:
        return f"reads {', '.join(spec.sides)}; unmeasured here"
    return f"reads {', '.join(spec.sides)}; measured, see mtb guards card {spec.name}"
