"""MANOVA, Tukey, normalisation and regressions against statsmodels, loops and hand numbers."""

import math

import numpy as np
import pandas as pd
import pytest

from score_jax.statistics.multivariate import manova, tukey
from score_jax.statistics.normalisation import Normaliser, choose, normaliser, spread
from score_jax.statistics.regression import fit_linear, hierarchical, without_collinear


@pytest.fixture
def scores(rng):
    n = 60
    frame = pd.DataFrame({"f": rng.choice(list("ab"), n), "g": rng.choice(list("xyz"), n)})
    shift = (frame["f"] == "b").to_numpy() * 0.8
    y = rng.normal(size=(n, 3))
    return frame.assign(p=y[:, 0] + shift, q=y[:, 1] - y[:, 0], r=100 * y[:, 2])


def test_manova_is_that_of_the_formula(scores):
    from statsmodels.multivariate.manova import MANOVA

    wanted = MANOVA.from_formula("p + q + r ~ C(f) + C(g)", scores).mv_test().results
    found = {effect.factor: effect for effect in manova(scores, ["p", "q", "r"], ["f", "g"])}
    for factor in "fg":
        table = wanted[f"C({factor})"]["stat"]
        pillai = table.loc["Pillai's trace"]
        assert found[factor].pillai == pytest.approx(float(pillai["Value"]), abs=1e-6)
        assert found[factor].f == pytest.approx(float(pillai["F Value"]), abs=1e-6)
        assert found[factor].p == pytest.approx(float(pillai["Pr > F"]), abs=1e-6)
        wilks = table.loc["Wilks' lambda"]
        assert found[factor].wilks == pytest.approx(float(wilks["Value"]), abs=1e-6)
        assert found[factor].p_wilks == pytest.approx(float(wilks["Pr > F"]), abs=1e-6)
    assert found["f"].df == (3, 54)


def test_manova_without_evidence(scores):
    missing = scores.assign(p=scores["p"].where(scores.index > 5))
    assert manova(missing, ["p", "q"], ["f"])[0].n == 54
    assert manova(scores.assign(f="a"), ["p", "q"], ["f"]) == ()
    assert manova(scores.head(4), ["p", "q", "r"], ["f", "g"]) == ()
    assert manova(scores.assign(q=scores["p"]), ["p", "q"], ["f"]) == ()
    assert manova(scores.assign(g=scores["f"]), ["p", "q"], ["f", "g"]) == ()


def test_tukey_is_that_of_statsmodels(rng):
    from statsmodels.stats.multicomp import pairwise_tukeyhsd

    groups = np.repeat(["b", "a", "c"], [9, 12, 7])
    values = rng.normal(size=28) + (groups == "c") * 2.0
    wanted = pairwise_tukeyhsd(values, groups)  # pairs a-b, a-c, b-c
    found = tukey(values, groups)
    for (a, b), p in zip((("a", "b"), ("a", "c"), ("b", "c")), wanted.pvalues, strict=True):
        assert found.between(a, b)[1] == pytest.approx(p, abs=1e-6)
    assert found.between("a", "c")[0] == pytest.approx(values[groups == "c"].mean()
                                                       - values[groups == "a"].mean())  # fmt: skip
    assert found.names[-1] == "c"
    assert found.order().endswith("< c")
    assert " ~ " in found.order()
    assert math.isnan(found.between("a", "z")[1])


def test_tukey_without_evidence():
    assert tukey([], []).order() == "n.a."
    assert tukey([1.0, 2.0, math.nan], ["a", "a", "b"]).names == ("a",)
    assert np.isnan(tukey([1.0, 1.0, 2.0, 2.0], list("aabb")).p).all()


def cohort(rng, n=12, slices=4):
    s, k = np.repeat(np.arange(n), slices), np.tile(np.arange(slices), n)
    tiv, sex = rng.normal(1.4, 0.1, n)[s], (np.arange(n) % 2)[s].astype(float)
    return s, k, {"tiv": tiv, "sex": sex}


def test_normalisation_takes_away_what_was_planted(rng):
    s, k, factors = cohort(rng)
    # a little noise, as a model without any has no residual variance
    area = (
        80 + 30 * (factors["tiv"] - 1.4) + 2 * factors["sex"] + k + 1e-4 * rng.normal(size=s.size)
    )
    tool = normaliser(area, factors, s, k)
    assert tool.slopes == pytest.approx({"tiv": 30, "sex": 2}, rel=1e-3)
    assert tool.means == pytest.approx({name: value[::4].mean() for name, value in factors.items()})
    flat = tool.apply(area, factors)
    assert spread(flat, s, k).by_slice < 1e-3
    assert spread(flat, s, k).subjects < spread(area, s, k).subjects / 100


def test_normalisation_by_hand():
    tool = Normaliser({"tiv": -24.0, "sex": 3.0}, {"tiv": 0.9, "sex": 0.5})
    found = tool.apply(np.array([80.0, 70.0]), {"tiv": np.array([1.0, math.nan]),
                                                "sex": np.array([0.0, 1.0])})  # fmt: skip
    assert found[0] == pytest.approx(80 - 24 * (0.9 - 1.0) + 3 * 0.5)
    assert math.isnan(found[1])
    none = normaliser(np.zeros(2), {}, np.arange(2), np.arange(2))
    np.testing.assert_array_equal(none.apply(np.array([5.0]), {}), [5.0])


def test_means_count_each_subject_once(rng):
    s, k, factors = cohort(rng)
    kept = (s != 0) | (k == 0)  # the first subject has one slice left
    area = rng.normal(80, 5, s.size)
    some = {name: value[kept] for name, value in factors.items()}
    tool = normaliser(area[kept], some, s[kept], k[kept])
    assert tool.means["tiv"] == pytest.approx(factors["tiv"][::4].mean())
    holes = {"tiv": np.where(s == 1, math.nan, factors["tiv"])}
    assert normaliser(area, holes, s, k).means["tiv"] == pytest.approx(
        np.delete(factors["tiv"][::4], 1).mean()
    )


def test_spread_by_hand():
    found = spread(
        np.array([9.0, 11, 20, 20, 7]), np.array(list("ababa")), np.array([1, 1, 2, 2, 3])
    )
    assert found.by_slice == pytest.approx(50 * math.sqrt(2) / 10)  # 14.1 % and 0; slice 3 is alone
    means = np.array([12.0, 15.5])
    assert found.subjects == pytest.approx(100 * means.std(ddof=1) / means.mean())
    assert math.isnan(spread(np.array([1.0]), np.array(["a"]), np.array([1])).rows)
    assert math.isnan(spread(np.zeros(0), np.zeros(0, str), np.zeros(0)).by_slice)


@pytest.mark.parametrize(
    ("rsd", "p", "wanted"),
    [
        ({(): 10.0, ("tiv",): 8.0, ("tiv", "sex"): 7.9}, {("tiv",): 0.01, ("tiv", "sex"): 0.01},
         ("tiv",)),
        ({(): 10.0, ("tiv",): 8.0, ("tiv", "sex"): 7.0}, {("tiv",): 0.01, ("tiv", "sex"): 0.01},
         ("tiv", "sex")),
        ({(): 10.0, ("tiv",): 8.0}, {("tiv",): 0.20}, ()),
        ({(): 7.0, ("tiv",): 8.0}, {("tiv",): 0.01}, ()),
        ({(): 10.0}, {}, ()),
    ],
)  # fmt: skip
def test_the_rule_of_choice(rsd, p, wanted):
    assert choose(rsd, p) == wanted


@pytest.fixture
def patients(rng):
    n = 24
    a, b, c = rng.normal(size=(3, n))
    return 0.9 * a - 0.5 * b + 0.4 * rng.normal(size=n), {"a": a, "b": b + 0.5 * a, "c": c}


def test_linear_model_against_statsmodels(patients):
    import statsmodels.api as sm
    from statsmodels.stats.outliers_influence import variance_inflation_factor

    y, columns = patients
    z = np.stack([(v - v.mean()) / v.std(ddof=1) for v in columns.values()], axis=1)
    x = sm.add_constant(z)
    fit = sm.OLS((y - y.mean()) / y.std(ddof=1), x).fit()
    found = fit_linear(y, columns)
    for i, one in enumerate(found.predictors, 1):
        assert (one.beta, one.se, one.p) == pytest.approx(
            (fit.params[i], fit.bse[i], fit.pvalues[i])
        )
        assert (one.low, one.high) == pytest.approx(tuple(fit.conf_int()[i]))
        assert one.vif == pytest.approx(variance_inflation_factor(x, i))
    assert (found.r2, found.adjusted_r2, found.n) == pytest.approx(
        (fit.rsquared, fit.rsquared_adj, 24)
    )
    errors = []
    for i in range(24):
        rest = np.arange(24) != i
        beta = np.linalg.lstsq(x[rest], y[rest], rcond=None)[0]
        errors.append(y[i] - x[i] @ beta)
    assert found.loo_r2 == pytest.approx(1 - np.square(errors).sum() / ((y - y.mean()) ** 2).sum())
    assert fit_linear(y, {"a": columns["a"]}).predictors[0].vif == pytest.approx(1)


def test_backward_elimination(patients):
    y, columns = patients
    found = hierarchical(y, {"first": {"a": columns["a"], "c": columns["c"]}, "second":
                             {"b": columns["b"]}})  # fmt: skip
    assert [step.removed for step in found.steps] == ["c"]
    assert [one.name for one in found.final.predictors] == ["a", "b"]
    assert all(one.p < 0.05 for one in found.final.predictors)
    first, second = found.blocks["first"], found.blocks["second"]
    assert first[0] == pytest.approx(fit_linear(y, {n: columns[n] for n in "ac"}).r2)
    assert second[1] == pytest.approx(fit_linear(y, columns).r2 - first[0])
    assert found.steps[0].r2 == pytest.approx(second[0])
    generous = hierarchical(y, {"all": columns}, p_remove=1.1)
    assert generous.steps == ()


def test_nothing_may_be_left(rng):
    y, x = rng.normal(size=(2, 30))
    y = y - x * (x @ y) / (x @ x)  # no correlation but that of the means
    found = hierarchical(y, {"all": {"x": x}})
    assert found.final.predictors == ()
    assert found.final.r2 == 0
    assert found.final.loo_r2 < 0


def test_regressions_that_cannot_be_made(patients):
    y, columns = patients
    with pytest.raises(ValueError, match="flat: got a constant"):
        fit_linear(y, {"flat": np.ones(24)})
    with pytest.raises(ValueError, match="collinearity"):
        fit_linear(y, {"a": columns["a"], "twice": 2 * columns["a"]})
    with pytest.raises(ValueError, match="got 4 rows"):
        fit_linear(y[:4], {name: value[:4] for name, value in columns.items()})
    kept, dropped = without_collinear(
        {**columns, "twice": 2 * columns["a"], "flat": np.ones(24)}, ["a", "b", "twice", "flat"]
    )
    assert (list(kept), dropped) == (["a", "b"], ["twice", "flat"])
