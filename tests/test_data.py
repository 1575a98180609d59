"""The bundled data is what its card says."""

from __future__ import annotations

import subprocess
import sys

import pytest

from multitask_bench.data import benign
from multitask_bench.data.intents import bundled_intents, intents
from multitask_bench.forms import forms
from multitask_bench.study import rows


def test_there_are_enough_intents_in_every_hazard_and_split() -> None:
    assert len(bundled_intents()) >= 60
    hazards = {i.hazard for i in bundled_intents()}
    assert len(hazards) >= 11
    for split in ("train", "validation", "test"):
        assert {i.hazard for i in intents(split)} == hazards


def test_no_cluster_stands_in_two_splits() -> None:
    clusters = [{i.cluster for i in intents(s)} for s in ("train", "validation", "test")]
    assert sum(map(len, clusters)) == len(set.union(*clusters))


@pytest.mark.parametrize("name", forms.names())
def test_a_form_has_six_templates_two_of_them_held_out(name: str) -> None:
    form = forms.make(name)
    assert len(form.templates) >= 6
    assert sum(t.held_out for t in form.templates) == 2


def test_all_five_forms_were_found() -> None:
    assert set(forms.names()) == set(rows.FORMS)


@pytest.mark.parametrize("name", forms.names())
def test_every_intent_fills_every_template(name: str) -> None:
    form = forms.make(name)
    for intent in bundled_intents():
        for template in form.templates:
            for twin in (False, True):
                probe = form.write(intent, template, twin=twin, language="en")
                assert "{" not in probe.prompt.replace("{}", "")
                assert not twin or form.answer(intent.twin, template, "en").strip()


def test_probes_are_distinct_and_paired_over_forms() -> None:
    probes = rows.probes("test", count=28, twins=16)
    assert len({p.prompt for p in probes}) == len(probes)
    for twin, size in ((False, 28), (True, 16)):
        ids = [{p.intent_id for p in probes if p.form == f and p.twin == twin} for f in rows.FORMS]
        assert all(len(i) == size and i == ids[0] for i in ids)


def test_a_probe_is_the_same_one_whatever_the_size_of_the_study() -> None:
    whole = {p.id for p in rows.probes("test")}
    assert {p.id for p in rows.probes("test", count=24, twins=12)} <= whole


def test_training_rows_never_show_a_held_out_template_or_intent() -> None:
    held = {t.id for n in rows.FORMS for t in forms.make(n).templates if t.held_out}
    train = {i.id for i in intents("train")}
    made = rows.safety_rows(seed=0, wordings=4)
    assert len(made) == 2 * len(rows.FORMS) * 4 * len(train)
    for row in made:
        intent, _, template, _ = row.id.split(".")
        assert intent in train
        assert template not in held


@pytest.mark.parametrize("task", benign.TASKS)
def test_a_task_has_at_least_150_rows_in_three_splits(task: str) -> None:
    every = benign.rows(task)
    assert len(every) >= 150
    assert {r.split for r in every} == {"train", "validation", "test"}
    assert len({r.prompt for r in every}) == len(every)


def test_every_bundled_function_passes_its_own_tests() -> None:
    code = [
        r.answer.removeprefix("```python\n").removesuffix("\n```") + "\n" + "\n".join(r.tests)
        for r in benign.rows("code")
    ]
    assert all(r.tests for r in benign.rows("code"))
    done = subprocess.run([sys.executable, "-I", "-c", "\n".join(code)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr[-500:]
