"""The draw: exact probabilities, fixed sizes, every arm of a question."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from multitask_bench.audit.drawing import PARTS, Question, draw, probabilities, quotas, shuffled

FORMS = ("a", "b", "c")


def questions(
    probes: int = 60, twins: int = 60, others: int = 0, *, arms: int = 2, doubtful: int = 0
) -> list[Question]:
    sizes = {"probes": probes, "twins": twins, "others": others}
    return [
        Question(f"{part}{i}", part, FORMS[i % 3], arms, float(i < doubtful))
        for part, n in sizes.items()
        for i in range(n)
    ]


some_questions = st.lists(
    st.tuples(st.sampled_from(PARTS), st.sampled_from(FORMS), st.integers(1, 4), st.sampled_from([0.0, 0.5, 3.0])),
    min_size=1,
    max_size=60,
).map(lambda rows: [Question(str(i), *row) for i, row in enumerate(rows)])


@given(some_questions, st.integers(1, 200), st.integers(0, 5))
def test_every_question_can_be_drawn_and_the_draw_has_its_size(rows: list[Question], count: int, seed: int):
    chances = probabilities(rows, count)
    assert set(chances) == {q.name for q in rows}
    assert all(0 < chance <= 1 + 1e-12 for chance in chances.values())
    names = draw(rows, chances, seed=seed)
    assert len(set(names)) == len(names)
    for part, quota in quotas(rows, count).items():
        drawn = sum(q.part == part for q in rows if q.name in names)
        assert abs(drawn - quota) < 1 + 1e-9
        assert sum(chances[q.name] for q in rows if q.part == part) == pytest.approx(quota)


def test_questions_are_drawn_as_often_as_their_probability_says():
    rows = questions(30, 15, 15, doubtful=5)
    chances = probabilities(rows, 40)
    seeds = 4_000
    found = Counter(name for seed in range(seeds) for name in draw(rows, chances, seed=seed))
    # Four standard errors: one in some hundred of such tests of 60 questions would fail by chance, and the seeds are fixed.
    for name, chance in chances.items():
        assert found[name] / seeds == pytest.approx(chance, abs=4 * (chance * (1 - chance) / seeds) ** 0.5 + 1e-9)


def test_half_goes_to_all_alike_and_half_to_doubt():
    chances = probabilities(questions(100, 0, doubtful=40), 40)  # 20 questions
    assert chances["probes50"] == pytest.approx(10 / 100)
    assert chances["probes0"] == pytest.approx(10 / 100 + 10 / 40)


def test_what_would_be_drawn_more_than_once_is_certain_and_leaves_the_rest_to_others():
    chances = probabilities(questions(100, 0, doubtful=5), 40)
    assert chances["probes0"] == 1.0
    assert chances["probes50"] == pytest.approx(15 / 95)


def test_no_weight_is_more_than_twice_that_of_a_plain_sample():
    rows = questions(200, 0, doubtful=40)
    chances = probabilities(rows, 50)
    assert min(chances.values()) >= 25 / 200 / 2 - 1e-12


@pytest.mark.parametrize(
    ("arms", "others", "probes", "twins"),
    [(2, 0, 15, 10), (4, 0, 10, 2.5), (2, 100, 15, 7.5), (8, 0, 5, 1.25)],
)
def test_the_headlines_probes_come_first_where_labels_are_few(arms: int, others: int, probes: float, twins: float):
    found = quotas(questions(100, 100, others, arms=arms), 50)
    assert (found["probes"], found["twins"]) == pytest.approx((probes, twins))


def test_a_run_smaller_than_the_count_is_drawn_whole():
    rows = questions(4, 3)
    assert sorted(draw(rows, probabilities(rows, 50), seed=1)) == sorted(q.name for q in rows)


def test_forms_are_drawn_in_their_share():
    rows = questions(90, 0)
    names = draw(rows, probabilities(rows, 60), seed=3)  # 30 questions
    counts = Counter(q.form for q in rows if q.name in names)
    assert all(9 <= counts[form] <= 11 for form in FORMS)


def test_the_same_seed_draws_the_same_in_the_same_order():
    rows = questions(50, 50, 20, doubtful=7)
    chances = probabilities(rows, 50)
    first = draw(rows, chances, seed=5)
    assert first == draw(list(reversed(rows)), chances, seed=5)
    assert first != draw(rows, chances, seed=6)
    assert shuffled(first, seed=5) == shuffled(list(reversed(first)), seed=5)
    assert shuffled(first, seed=5) != first
