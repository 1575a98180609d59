"""Agreement against scikit-learn, statsmodels, published examples and the values of the reference packages."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from multitask_bench.stats.agreement import cohen_kappa, gwet_ac1, krippendorff_alpha

# Three coders, fifteen units; the example of Wikipedia's page on Krippendorff's alpha, nominal 0.691.
RATERS = ("*****34121133*3", "1*213343*******", "**21344*21133*4")
UNITS = [[None if label == "*" else label for label in unit] for unit in zip(*RATERS, strict=True)]


def raters(seed: int, n: int = 100) -> tuple[list[str], list[str]]:
    rng = np.random.default_rng(seed)
    first = rng.choice(["a", "b", "c"], n, p=[0.6, 0.3, 0.1])
    second = np.where(rng.random(n) < 0.7, first, rng.choice(["a", "b", "c"], n))
    return first.tolist(), second.tolist()


def test_alpha_is_the_one_of_krippendorffs_example_and_of_the_krippendorff_package():
    # krippendorff 0.9.0 gives these digits.
    assert krippendorff_alpha(UNITS).value == pytest.approx(0.691358024691358)
    assert krippendorff_alpha(UNITS, order="1234").value == pytest.approx(0.8067214199413153)
    assert krippendorff_alpha(UNITS).n == 12


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_alpha_agrees_with_the_krippendorff_package_where_it_is_installed(seed):
    package = pytest.importorskip("krippendorff")
    first, second = raters(seed)
    table = [
        [label, None if i % 7 == 0 else other, label]
        for i, (label, other) in enumerate(zip(first, second, strict=True))
    ]
    numbers = [[np.nan if x is None else "abc".index(x) for x in column] for column in zip(*table, strict=True)]
    for level, order in (("nominal", None), ("ordinal", "abc")):
        expected = package.alpha(reliability_data=numbers, level_of_measurement=level)
        assert krippendorff_alpha(table, order=order).value == pytest.approx(expected)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_kappa_is_the_one_of_scikit_learn_and_statsmodels(seed):
    from sklearn.metrics import cohen_kappa_score
    from statsmodels.stats.inter_rater import cohens_kappa, to_table

    first, second = raters(seed)
    found = cohen_kappa(first, second)
    assert found.value == pytest.approx(cohen_kappa_score(first, second))
    numbers = [["abc".index(a), "abc".index(b)] for a, b in zip(first, second, strict=True)]
    reference = cohens_kappa(to_table(np.array(numbers))[0])
    assert found.value == pytest.approx(reference.kappa)
    assert (found.low, found.high) == pytest.approx((reference.kappa_low, reference.kappa_upp), abs=0.03)


def test_ac1_is_gwets_formula_and_stays_where_kappa_collapses():
    # 118 of 125 rows agree, all of them on one kind of label: the paradox of kappa.
    first = ["a"] * 118 + ["a"] * 5 + ["b"] * 2
    second = ["a"] * 118 + ["b"] * 5 + ["a"] * 2
    seen, share = 118 / 125, (123 / 125 + 120 / 125) / 2
    chance = 2 * share * (1 - share)
    found = gwet_ac1(list(zip(first, second, strict=True)))
    assert found.value == pytest.approx((seen - chance) / (1 - chance))
    assert found.value > 0.93
    assert abs(cohen_kappa(first, second).value) < 0.05


def test_ac1_is_the_one_of_irrcac():
    # irrCAC 0.4.4. With missing labels it counts them as one more kind; Gwet (2008) does not, nor do we.
    first, second = raters(0)
    assert gwet_ac1(list(zip(first, second, strict=True))).value == pytest.approx(0.63934, abs=1e-5)
    third = [first[-1], *first[:-1]]
    assert gwet_ac1(list(zip(first, second, third, strict=True))).value == pytest.approx(0.30403, abs=1e-5)


def test_ac1_with_missing_labels_is_gwets_formula():
    kinds = [[unit.count(kind) for kind in "1234"] for unit in UNITS]
    shares = np.mean([np.array(row) / sum(row) for row in kinds if sum(row)], axis=0)
    seen = np.mean([sum(k * (k - 1) for k in row) / (sum(row) * (sum(row) - 1)) for row in kinds if sum(row) > 1])
    chance = (shares * (1 - shares)).sum() / 3
    assert gwet_ac1(UNITS).value == pytest.approx((seen - chance) / (1 - chance))


def test_one_kind_of_label_leaves_chance_corrected_agreement_undefined_unless_others_were_possible():
    rows = [["no", "no"]] * 30
    for found in (krippendorff_alpha(rows), gwet_ac1(rows), cohen_kappa(["no"] * 30, ["no"] * 30)):
        assert (found.value, found.low, found.n, found.observed) == (None, None, 30, 1.0)
    assert gwet_ac1(rows, kinds=["no", "yes"]).value == 1.0


def test_raters_that_always_agree_may_yet_differ_on_a_row_not_seen():
    rows = [["a", "a"], ["b", "b"]] * 20
    for found in (krippendorff_alpha(rows), gwet_ac1(rows), cohen_kappa(*map(list, zip(*rows, strict=True)))):
        assert found.value == 1.0
        assert found.low is not None
        assert 0.7 < found.low < 0.9


def test_nothing_to_compare_is_missing():
    for rows in ([], [["a", None]], [[None, None]]):
        assert krippendorff_alpha(rows).value is None
        assert gwet_ac1(rows).n == 0
    assert cohen_kappa(["a"], [None]).n == 0
    one = cohen_kappa(["a"], ["b"])
    assert (one.low, one.high) == (-1.0, 1.0)


def test_mistakes_are_refused():
    with pytest.raises(ValueError, match="one label"):
        krippendorff_alpha([["a"], ["a", "b"]])
    with pytest.raises(ValueError, match="leaves out 'c'"):
        krippendorff_alpha([["a", "c"]], order=["a", "b"])
    with pytest.raises(ValueError, match="same rows"):
        cohen_kappa(["a"], [])


@given(st.lists(st.lists(st.sampled_from(["a", "b", None]), min_size=2, max_size=2), max_size=20), st.randoms())
def test_agreement_ignores_the_order_of_rows_and_lies_in_its_interval(rows, rng):
    shuffled = rng.sample(rows, len(rows))
    for coefficient in (krippendorff_alpha, gwet_ac1):
        found = coefficient(rows, draws=50)
        assert coefficient(shuffled, draws=50).value == pytest.approx(found.value)
        if found.value is not None:
            assert found.low <= found.value <= found.high <= 1 + 1e-9


@pytest.mark.parametrize("coefficient", [krippendorff_alpha, gwet_ac1])
def test_the_interval_covers(coefficient):
    rng = np.random.default_rng(5)

    def rows(n: int) -> list[list[str]]:
        truth = rng.random(n) < 0.7
        seen = [truth ^ (rng.random(n) < 0.1) for _ in range(2)]
        return [["yes" if x else "no" for x in row] for row in zip(*seen, strict=True)]

    truth = coefficient(rows(20_000), draws=2).value
    found = [coefficient(rows(80), draws=400) for _ in range(150)]
    assert sum(f.low <= truth <= f.high for f in found) / 150 >= 0.88
