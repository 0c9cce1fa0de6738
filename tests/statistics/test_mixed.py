"""The crossed mixed model against analysis of variance, dense matrices and statsmodels."""

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from score_jax.statistics.mixed import (
    coefficient,
    estimate,
    fit_crossed,
    nakagawa_r2,
    percent_change,
    subject_intercepts,
)


def draw(rng, *, subjects=10, levels=5, sd=(3.0, 1.5, 1.0), lost=0):
    """y = 50 + 4 g + 2 z + u + v + e; g of the subject."""
    s, k = (a.ravel() for a in np.meshgrid(np.arange(subjects), np.arange(levels), indexing="ij"))
    g, z = (np.arange(subjects) % 2)[s].astype(float), rng.normal(size=subjects)[s]
    y = 50 + 4 * g + 2 * z + rng.normal(0, sd[0], subjects)[s] + rng.normal(0, sd[1], levels)[k]
    y = y + rng.normal(0, sd[2], s.size)
    kept = np.sort(rng.permutation(s.size)[lost:])
    x = np.stack([np.ones(s.size), g, z], axis=1)
    return y[kept], x[kept], s[kept], k[kept]


def dense(fit, y, x, s, k):
    """beta, its covariance, u, v and -2 log likelihood by the whole matrix V."""
    zs, zk = (np.eye(n.max() + 1)[n] for n in (s, k))
    v = fit.sd_subject**2 * zs @ zs.T + fit.sd_level**2 * zk @ zk.T
    v = v + fit.sd_residual**2 * np.eye(len(y))
    inverse = np.linalg.inv(v)
    covariance = np.linalg.inv(x.T @ inverse @ x)
    beta = covariance @ x.T @ inverse @ y
    r = y - x @ beta
    u, w = fit.sd_subject**2 * zs.T @ inverse @ r, fit.sd_level**2 * zk.T @ inverse @ r
    df = len(y) - x.shape[1]
    deviance = df * math.log(2 * math.pi) + np.linalg.slogdet(v)[1] + r @ inverse @ r
    return beta, covariance, u, w, deviance - np.linalg.slogdet(covariance)[1]


def test_balanced_data_give_the_analysis_of_variance(rng):
    y, _, s, k = draw(rng, subjects=9, levels=6)
    fit = fit_crossed(y, np.ones((y.size, 1)), s, k)
    table = y.reshape(9, 6)
    rows, columns = table.mean(axis=1), table.mean(axis=0)
    ms_s, ms_k = 6 * rows.var(ddof=1), 9 * columns.var(ddof=1)
    mse = ((table - rows[:, None] - columns + y.mean()) ** 2).sum() / (8 * 5)
    wanted = [(ms_s - mse) / 6, (ms_k - mse) / 9, mse]
    found = [fit.sd_subject**2, fit.sd_level**2, fit.sd_residual**2]
    np.testing.assert_allclose(found, wanted, rtol=1e-6)
    assert fit.beta[0] == pytest.approx(y.mean(), rel=1e-9)
    assert fit.singular == ()


@pytest.mark.parametrize("lost", [0, 7])
def test_the_whole_matrix_agrees(rng, lost):
    data = draw(rng, lost=lost)
    fit = fit_crossed(*data, ("1", "g", "z"))
    beta, covariance, u, v, deviance = dense(fit, *data)
    np.testing.assert_allclose(fit.beta, beta, rtol=1e-7)
    np.testing.assert_allclose(fit.covariance, covariance, rtol=1e-6)
    np.testing.assert_allclose(fit.u, u, atol=1e-7)
    np.testing.assert_allclose(fit.v, v, atol=1e-7)
    assert -2 * fit.log_likelihood == pytest.approx(deviance, rel=1e-9)


def test_statsmodels_agrees(rng):
    import statsmodels.formula.api as smf

    y, x, s, k = draw(rng, lost=6)
    frame = pd.DataFrame({"y": y, "g": x[:, 1], "z": x[:, 2], "s": s, "k": k, "one": 1})
    theirs = smf.mixedlm(
        "y ~ g + z", frame, groups="one", re_formula="0",
        vc_formula={"subject": "0+C(s)", "slice": "0+C(k)"},
    ).fit(reml=True, method=["bfgs", "lbfgs"])  # fmt: skip
    ours = fit_crossed(y, x, s, k, ("1", "g", "z"))
    np.testing.assert_allclose(ours.beta, theirs.fe_params, rtol=1e-5)
    np.testing.assert_allclose(
        np.sqrt(np.diag(ours.covariance)), np.asarray(theirs.bse_fe), rtol=1e-4
    )
    by_name = dict(zip(theirs.model.exog_vc.names, theirs.vcomp, strict=True))
    assert ours.sd_subject == pytest.approx(math.sqrt(by_name["subject"]), rel=1e-3)
    assert ours.sd_level == pytest.approx(math.sqrt(by_name["slice"]), rel=1e-3)
    # ours is at least as likely, and equally so to 1e-6
    assert ours.log_likelihood >= theirs.llf - 1e-9
    assert ours.log_likelihood == pytest.approx(theirs.llf, rel=1e-6)


def test_inference_is_of_subjects(rng):
    data = draw(rng)
    fit = fit_crossed(*data, ("1", "g", "z"))
    assert fit.df == 10 - 3
    found = coefficient(fit, "g")
    se = math.sqrt(fit.covariance[1, 1])
    assert found.p == pytest.approx(2 * stats.t.sf(abs(fit.beta[1]) / se, 7))
    assert found.high - found.low == pytest.approx(2 * se * stats.t.ppf(0.975, 7))
    # on balanced data the effect of a group is Welch's pooled twin: a t test of subject means
    y, x, s, k = draw(rng)
    fit = fit_crossed(y, x[:, :2], s, k, ("1", "g"))
    means = y.reshape(10, 5).mean(axis=1)
    wanted = stats.ttest_ind(means[1::2], means[::2])
    assert coefficient(fit, "g").p == pytest.approx(wanted.pvalue, rel=1e-6)


def test_percent_change_by_small_steps(rng):
    fit = fit_crossed(*draw(rng), ("1", "g", "z"))
    of, to = np.array([1.0, 0.0, 0.3]), np.array([1.0, 1.0, 0.3])
    found = percent_change(fit, of, to)

    def percent(beta):
        return 100 * (to @ beta / (of @ beta) - 1)

    gradient = [(percent(fit.beta + d) - percent(fit.beta - d)) / 2e-6 for d in 1e-6 * np.eye(3)]
    assert found.value == pytest.approx(percent(fit.beta))
    assert found.se == pytest.approx(math.sqrt(gradient @ fit.covariance @ gradient), rel=1e-6)
    assert found.p == estimate(fit, to - of).p
    nothing = percent_change(fit, np.zeros(3), to)  # of a mean of 0
    assert [math.isnan(v) for v in (nothing.value, nothing.se, nothing.low, nothing.high)] == [
        True
    ] * 4
    assert nothing.p == estimate(fit, to).p


def test_nakagawa_by_hand(rng):
    y, x, s, k = draw(rng)
    fit = fit_crossed(y, x, s, k)
    fixed = (x @ fit.beta).var(ddof=1)
    random = fit.sd_subject**2 + fit.sd_level**2
    marginal, conditional = nakagawa_r2(fit)
    assert marginal == pytest.approx(fixed / (fixed + random + fit.sd_residual**2))
    assert conditional == pytest.approx((fixed + random) / (fixed + random + fit.sd_residual**2))


def test_singular_fits_are_told(rng):
    # alternating errors: slices vary less than chance, so REML finds no variance of theirs
    s, k = np.repeat(np.arange(8), 4), np.tile(np.arange(4), 8)
    y = 5.0 * rng.normal(size=8)[s] + np.where((s + k) % 2, 1.0, -1.0)
    fit = fit_crossed(y, np.ones((32, 1)), s, k)
    assert fit.singular == ("level",)
    assert fit.sd_level == 0
    one = fit_crossed(y[:8] + rng.normal(size=8), np.ones((8, 1)), s[:8] * 4 + k[:8], s[:8] * 0)
    assert "level" in one.singular


def test_intercepts_shrink_to_the_mean(rng):
    y, _, s, k = draw(rng, lost=4)
    found = subject_intercepts(y, s, k)
    fit = fit_crossed(y, np.ones((y.size, 1)), s, k)
    assert found[3] == pytest.approx(fit.beta[0] + fit.u[3])
    raw = np.array([y[s == name].mean() for name in sorted(found)])
    assert np.std(list(found.values())) < raw.std()


def test_units_do_not_matter(rng):
    y, x, s, k = draw(rng)
    a = fit_crossed(y, x, s, k)
    b = fit_crossed(y, x * [1, 1, 1e6], s, k)
    np.testing.assert_allclose(b.beta * [1, 1, 1e6], a.beta, rtol=1e-6)
    assert b.df == a.df


def test_bad_input(rng):
    y, x, s, k = draw(rng)
    with pytest.raises(ValueError, match="missing value"):
        fit_crossed(np.where(s == 0, math.nan, y), x, s, k)
    with pytest.raises(ValueError, match="expected two or more"):
        fit_crossed(y, x[:, :1], s * 0, k)
    with pytest.raises(ValueError, match="expected rank 4"):
        fit_crossed(y, np.column_stack([x, x[:, 1]]), s, k)
    # as many columns as subjects: estimates, but no t
    fit = fit_crossed(*(a[:10] for a in (y, x[:, :2], s, k)))
    assert math.isnan(coefficient(fit, "x1").p)
