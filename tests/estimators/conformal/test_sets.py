"""Prediction sets and conformal p-values against plain loops, closed forms and published runs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from statllm.estimators.conformal.law import CoverageLaw, conformal_quantile
from statllm.estimators.conformal.p_values import conformal_p_values
from statllm.estimators.conformal.scores import set_scores
from statllm.estimators.conformal.sets import prediction_sets

METHODS = ["lac", "margin", "aps", "raps", "saps", "top_k"]
ROUND = st.sampled_from([0.0, 0.5, 1.0, 2.0, 3.0])


def draw_items(
    rng: np.random.Generator, n: int, k: int = 4, sharp: float = 1.0
) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities, and labels that don't follow them (the model is miscalibrated)."""
    logits = rng.normal(size=(n, k))
    truth = np.argmax(logits + rng.gumbel(size=(n, k)), axis=1)
    probs = np.exp(sharp * logits)
    return probs / probs.sum(1, keepdims=True), truth


# ---- the law of coverage ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("n", "beta", "low", "high"),
    [
        (20, (19, 2), 0.7839, 0.9819),
        (50, (46, 5), 0.8262, 0.9598),
        (100, (91, 10), 0.8482, 0.9447),
        (500, (451, 50), 0.8773, 0.9213),
        (1000, (901, 100), 0.8841, 0.9152),
    ],
)
def test_law_of_coverage(n: int, beta: tuple[int, int], low: float, high: float) -> None:
    # 5 % and 95 % points at alpha = .1, computed elsewhere from the Beta law.
    law = CoverageLaw(n, 0.1)
    assert (law.rank, law.n_above) == beta
    interval = law.interval(0.9)
    assert (interval.low, interval.high) == pytest.approx((low, high), abs=6e-5)
    assert law.mean == pytest.approx(stats.beta(*beta).mean())
    assert 0.9 <= law.mean <= 0.9 + 1 / (n + 1)


def test_rank_survives_rounding() -> None:
    for n in range(1, 400):
        for percent in (1, 5, 10, 20, 29, 30, 57):
            exact = n + 1 - ((n + 1) * percent) // 100  # whole numbers
            assert CoverageLaw(n, percent / 100).rank == exact


def test_too_few_items_give_everything() -> None:
    rng = np.random.default_rng(0)
    probs, labels = draw_items(rng, 8)
    for method in ("lac", "aps", "raps"):
        sets = prediction_sets(probs, labels, probs, alpha=0.1, method=method)
        assert sets.sets.all()
        assert sets.law.trivial
        assert "8 calibration items are too few" in sets.notes[0]
        assert "at least 9 are needed" in sets.notes[0]
    assert not CoverageLaw(9, 0.1).trivial
    assert conformal_quantile([], 0.1) == np.inf
    empty = prediction_sets(np.empty((0, 4)), np.empty(0, int), probs, 0.1)
    assert empty.sets.all()
    none = prediction_sets(probs, labels, np.empty((0, 4)), 0.5)
    assert np.isnan(none.coverage(np.empty(0, int)).value)


def test_coverage_follows_its_law() -> None:
    """500 calibration sets of 25: the coverage given each is a Beta(24, 2) draw."""
    rng = np.random.default_rng(1)
    covered = []
    for _ in range(500):
        threshold = conformal_quantile(rng.random(25), 0.1)
        covered.append(threshold)  # coverage of uniform scores is the threshold itself
    assert stats.kstest(covered, stats.beta(24, 2).cdf).pvalue > 0.01


@pytest.mark.parametrize("method", METHODS)
def test_sets_cover(method: str) -> None:
    """500 splits of small calibration sets, a badly calibrated model."""
    rng = np.random.default_rng(2)
    hits, deterministic = [], []
    for _ in range(500):
        probs, labels = draw_items(rng, 60, sharp=3.0)
        for randomised, out in ((True, hits), (False, deterministic)):
            sets = prediction_sets(
                probs[:30], labels[:30], probs[30:], 0.2, method, randomised, rng=rng
            )
            out.append(sets.coverage(labels[30:]).value)
    law = CoverageLaw(30, 0.2)
    se = np.std(hits) / np.sqrt(500)
    assert np.mean(hits) == pytest.approx(law.mean, abs=4 * se)
    assert np.mean(deterministic) > law.mean - 4 * se


# ---- scores ------------------------------------------------------------------------------------


def plain_scores(p: list[float], method: str, u: float, penalty: float, free: int) -> list[float]:
    out = []
    for place, value in enumerate(p):
        n_above = sum(q > value for q in p)
        n_tied = sum(q == value for q in p)
        above = sum(q for q in p if q > value)
        if method == "lac":
            out.append(1 - value)
        elif method == "margin":
            out.append(max(p[:place] + p[place + 1 :]) - value)
        elif method == "saps":
            steps = [max(p)] + [penalty] * (len(p) - 1)
            tied = sum(steps[n_above : n_above + n_tied])
            out.append(sum(steps[:n_above]) + u * tied)
        elif method == "top_k":
            out.append(n_above + u * n_tied)
        else:
            extra = max(0, n_above + n_tied - free) * penalty if method == "raps" else 0.0
            out.append(above + u * value * n_tied + extra)
    return out


@settings(deadline=None)
@given(
    st.lists(
        st.lists(st.sampled_from([0.0, 0.1, 0.2, 0.3]), min_size=3, max_size=3),
        min_size=1,
        max_size=5,
    ),
    st.sampled_from(METHODS),
    st.integers(0, 3),
)
def test_scores_equal_the_definition(probs: list[list[float]], method: str, free: int) -> None:
    u = np.linspace(0.1, 0.9, len(probs))
    scores = set_scores(probs, method, u, 0.07, free)  # type: ignore[arg-type]
    expected = [plain_scores(p, method, x, 0.07, free) for p, x in zip(probs, u, strict=True)]
    np.testing.assert_allclose(scores, expected, atol=1e-12)
    order = [2, 0, 1]  # the order of the answers doesn't matter
    again = set_scores(np.array(probs)[:, order], method, u, 0.07, free)  # type: ignore[arg-type]
    np.testing.assert_allclose(again, scores[:, order], atol=1e-12)


def test_deterministic_aps_holds_the_randomised() -> None:
    probs, _ = draw_items(np.random.default_rng(3), 50)
    u = np.random.default_rng(4).random(50)
    assert np.all(set_scores(probs, "aps", u) <= set_scores(probs, "aps") + 1e-12)


# ---- published run -----------------------------------------------------------------------------


def published(path: Path) -> tuple[dict[str, float], dict[str, float]]:
    """Coverage (%) and set size per subject, as printed by bhaweshiitk/ConformalLLM."""

    def read(text: str) -> dict[str, float]:
        lines = [line.rsplit(" ", 3) for line in text.splitlines() if "+/-" in line]
        return {name.replace(" ", "_"): float(value.strip("%")) for name, value, *_ in lines}

    head, tail = path.read_text(encoding="utf-8").split("SET SIZES")
    return read(head), read(tail)


def test_published_mmlu_sets(shared_data: Path) -> None:
    """LAC at alpha = .1 on LLaMA-13B's option probabilities, 16 subjects, 10 prompts each.

    Its figures come out with the score one place above the split conformal one, as a quantile
    "higher" at ceil((n + 1)(1 - alpha)) / n would give it. With the right place, coverage is
    1 / (n + 1) lower and sets are smaller.
    """
    import pyarrow.parquet as pq

    folder = shared_data / "calib_conformal_mmlu"
    frame = pq.read_table(folder / "probs.parquet").to_pandas()
    coverage, size = published(folder / "published_conformal_alpha0.1.txt")
    assert len(coverage) == len(size) == frame["subject"].nunique() == 16
    rng = np.random.default_rng(5)
    excess, coverage_off, size_off, smaller = [], [], [], []
    for subject, part in frame.groupby("subject"):
        shape = (10, -1, 4)
        part = part.sort_values(["prompt", "qid"])
        probs = part[["pA", "pB", "pC", "pD"]].to_numpy().reshape(shape)
        labels = part["label"].to_numpy().reshape(10, -1)
        half = labels.shape[1] // 2
        law = CoverageLaw(half, 0.1)
        one_above = (law.n_above - 1) / (half + 1)
        found = []
        for prompt in np.repeat(np.arange(10), 15):
            order = rng.permutation(labels.shape[1])
            fit, test = order[:half], order[half:]
            p, y = probs[prompt], labels[prompt]
            for alpha in (0.1, one_above):
                sets = prediction_sets(p[fit], y[fit], p[test], alpha)
                found.append((sets.coverage(y[test]).value, sets.mean_size.value))
        ours, theirs = np.array(found).reshape(-1, 2, 2).mean(0)
        excess.append(ours[0] - law.mean)
        coverage_off.append(100 * theirs[0] - coverage[str(subject)])
        size_off.append(theirs[1] - size[str(subject)])
        smaller.append(ours[1] < theirs[1])
    assert np.abs(excess).max() < 0.012  # simulation error of one subject
    assert np.abs(np.mean(excess)) < 0.003
    assert np.abs(coverage_off).max() < 2.0
    assert np.abs(np.mean(coverage_off)) < 0.5
    assert np.abs(size_off).max() < 0.12
    assert np.abs(np.mean(size_off)) < 0.03
    assert all(smaller)


# ---- p-values ----------------------------------------------------------------------------------


def plain_p(
    fit: np.ndarray, s: float, u: float, w: np.ndarray | None = None, own: float = 1.0
) -> float:
    w = np.ones(len(fit)) if w is None else w
    return float((w[fit > s].sum() + u * (w[fit == s].sum() + own)) / (w.sum() + own))


@settings(deadline=None)
@given(
    st.lists(ROUND, max_size=12),
    st.lists(ROUND, min_size=1, max_size=8),
    st.integers(0, 2**31),
    st.booleans(),
)
def test_p_values_equal_the_definition(
    fit: list[float], test: list[float], seed: int, smoothed: bool
) -> None:
    calibration, scores = np.array(fit), np.array(test)
    rng = np.random.default_rng(seed)
    u = rng.random(len(test)) if smoothed else np.ones(len(test))
    p = conformal_p_values(calibration, scores, smoothed, rng=seed)
    expected = [plain_p(calibration, s, x) for s, x in zip(scores, u, strict=True)]
    np.testing.assert_allclose(p, expected)
    order = np.random.default_rng(0).permutation(len(fit))
    np.testing.assert_array_equal(
        conformal_p_values(calibration[order], scores, smoothed, rng=seed), p
    )

    w, own = rng.integers(0, 3, len(fit)).astype(float), rng.integers(1, 4, len(test)).astype(float)
    weighted = conformal_p_values(calibration, scores, smoothed, weights=(w, own), rng=seed)
    expected = [plain_p(calibration, s, x, w, v) for s, x, v in zip(scores, u, own, strict=True)]
    np.testing.assert_allclose(weighted, expected, atol=1e-12)

    a, b = rng.integers(0, 3, len(fit)), rng.integers(0, 4, len(test))
    grouped = conformal_p_values(calibration, scores, smoothed, groups=(a, b), rng=seed)
    expected = [plain_p(calibration[a == g], s, x) for s, x, g in zip(scores, u, b, strict=True)]
    np.testing.assert_allclose(grouped, expected)
    both = conformal_p_values(
        calibration, scores, smoothed, groups=(a, b), weights=(w, own), rng=seed
    )
    expected = [
        plain_p(calibration[a == g], s, x, w[a == g], v)
        for s, x, g, v in zip(scores, u, b, own, strict=True)
    ]
    np.testing.assert_allclose(both, expected, atol=1e-12)


def test_p_values_of_crepes() -> None:
    """crepes 0.9.1, ConformalClassifier.predict_p(smoothing=False), without and with bins."""
    fit = [0.3, 0.8, 0.3, -1.3, 0.9, 0.4, -0.5, 0.6, 0.4, 0.3, 0.0, 0.5]
    new = [-0.7, -0.2, -0.5, 0.6, 0.0, -0.3, -0.8, -0.3]
    expected = [12, 11, 12, 4, 11, 11, 12, 11]
    np.testing.assert_allclose(13 * conformal_p_values(fit, new, smoothed=False), expected)
    bins = (np.arange(12) % 2, np.arange(8) % 2)
    binned = conformal_p_values(fit, new, smoothed=False, groups=bins)
    np.testing.assert_allclose(7 * binned, [7, 6, 7, 3, 6, 6, 7, 6])


def test_smoothed_p_values_are_uniform_under_ties() -> None:
    rng = np.random.default_rng(7)
    p = [
        conformal_p_values(rng.integers(0, 3, 6), rng.integers(0, 3, 1), rng=rng)[0]
        for _ in range(3000)
    ]
    assert stats.kstest(p, "uniform").pvalue > 0.01


def test_weights_repair_a_shift() -> None:
    """Calibration x ~ N(0, 1), test x ~ N(1, 1), score x: weights are exp(x - 1/2)."""
    rng = np.random.default_rng(8)
    plain, weighted = [], []
    for _ in range(400):
        x, new = rng.normal(size=200), rng.normal(1, 1, size=5)
        plain.append(conformal_p_values(x, new, rng=rng))
        weights = (np.exp(x - 0.5), np.exp(new - 0.5))
        weighted.append(conformal_p_values(x, new, weights=weights, rng=rng))
    assert np.mean(np.concatenate(plain) <= 0.1) > 0.3
    assert np.mean(np.concatenate(weighted) <= 0.1) == pytest.approx(0.1, abs=0.03)


def test_p_value_sets_are_the_threshold_sets() -> None:
    rng = np.random.default_rng(9)
    probs, labels = draw_items(rng, 300)
    scores = set_scores(probs, "lac")
    p = conformal_p_values(scores[np.arange(100), labels[:100]], scores[100:], smoothed=False)
    sets = prediction_sets(probs[:100], labels[:100], probs[100:], 0.15)
    np.testing.assert_array_equal(p > 0.15, sets.sets)


def test_many_scores_agree_with_the_threshold() -> None:
    """1e5 calibration items and 1e5 x 6 test scores, where nearly nothing is tied."""
    rng = np.random.default_rng(0)
    n = 100_000
    probs, labels = draw_items(rng, n, 6)
    new, _ = draw_items(rng, n, 6)
    p = conformal_p_values(1 - probs[np.arange(n), labels], 1 - new)
    sets = prediction_sets(probs, labels, new, 0.1)
    assert np.mean((p > 0.1).sum(1)) == pytest.approx(sets.mean_size.value, abs=2e-3)


def test_wrong_input_is_refused() -> None:
    probs = np.full((3, 2), 0.5)
    with pytest.raises(ValueError, match="alpha must lie"):
        prediction_sets(probs, [0, 1, 0], probs, 1.0)
    with pytest.raises(ValueError, match="probabilities in"):
        prediction_sets([[0.5, np.nan]], [0], probs)
    with pytest.raises(ValueError, match="whole numbers from 0 to 1"):
        prediction_sets(probs, [0, 1, 2], probs)
    with pytest.raises(ValueError, match="3 column numbers"):
        prediction_sets(probs, [0, 1], probs)
    with pytest.raises(ValueError, match="answers per item"):
        prediction_sets(probs, [0, 1, 0], np.full((3, 3), 0.2))
    with pytest.raises(ValueError, match="method must be"):
        prediction_sets(probs, [0, 1, 0], probs, method="naive")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="are NaN"):
        conformal_p_values([1.0, np.nan], [1.0])
    with pytest.raises(ValueError, match="are NaN"):
        conformal_p_values([1.0], [np.nan])
    with pytest.raises(ValueError, match="weights must be finite"):
        conformal_p_values([1.0], [1.0], weights=([-1.0], [1.0]))
    with pytest.raises(ValueError, match="groups must be"):
        conformal_p_values([1.0], [1.0], groups=(["a"], ["a", "b"]))
    with pytest.raises(ValueError, match="answer_groups must be 2 labels"):
        prediction_sets(probs, [0, 1, 0], probs, answer_groups=[0])
    with pytest.raises(ValueError, match="weights must be 3 and 3 numbers"):
        prediction_sets(probs, [0, 1, 0], probs, weights=([1.0], [1.0]))
    with pytest.raises(ValueError, match="level must lie"):
        CoverageLaw(10, 0.1).interval(1.0)
    with pytest.raises(ValueError, match="u must be"):
        set_scores(probs, "aps", [0.5])
