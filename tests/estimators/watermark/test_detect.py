"""Detection end to end on marks: what counts once, which law is used, what is refused."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from statllm.estimators.watermark.certificate import certify
from statllm.estimators.watermark.deduplicate import deduplicated, design_effect, effective_n
from statllm.estimators.watermark.detect import detect
from statllm.estimators.watermark.locate import locate
from statllm.estimators.watermark.marks import Marks, Null
from statllm.estimators.watermark.schemes import SCHEMES, make_scheme
from statllm.ragged import Ragged

OPTIONS = {
    "kgw": {"vocabulary": 500},
    "unigram": {"vocabulary": 500, "key": 3},
    "vllm-gumbel": {"key": 42},
    "vllm-dual-gumbel": {"key": 42},
    "sglang-gumbel": {"key": 42},
    "synthid": {"key": tuple(range(1, 31))},
    "three-bricks-gumbel": {"vocabulary": 500, "ngram": 2, "start": 4, "key": 42},
    "permute-flip": {"vocabulary": 500, "ngram": 2, "start": 4, "key": 42},
    "textseal-gumbel": {"ngram": 2, "key": 42},
    "inverse-transform": {"vocabulary": 500, "key": 42},
    "vllm-red-green": {"key": 42},
    "sbw": {"key": 42},
    "dipmark": {"vocabulary": 500, "key": 42},
}


#: Those that read contexts of more tokens than none: five random ones come first.
PROMPTED = (
    "kgw", "sglang-gumbel", "three-bricks-gumbel", "permute-flip", "textseal-gumbel",
    "inverse-transform", "dipmark",
)  # fmt: skip


def random_law(rng: np.random.Generator, size: int = 500) -> np.ndarray:
    weights = np.exp(2 * rng.normal(size=size))
    return np.asarray(weights / weights.sum())


def written(name: str, n: int, seed: int) -> np.ndarray:
    """Text of a model with a new random law at every token, marked by the scheme."""
    rng = np.random.default_rng(seed)
    scheme = make_scheme(name, **OPTIONS[name])
    tokens: list[int] = rng.integers(0, 500, 5).tolist() if name in PROMPTED else []
    begin = len(tokens)
    for _ in range(n):
        law = scheme.reweighted(random_law(rng), np.array(tokens, np.int64))
        tokens.append(int(rng.choice(500, p=law)))
    return np.array(tokens[begin:])


@pytest.mark.parametrize("name", sorted(OPTIONS))
def test_what_a_scheme_writes_it_finds_and_another_key_does_not(name: str) -> None:
    text = Ragged.from_lists([written(name, 300, 1)], np.int64)
    found = detect(make_scheme(name, **OPTIONS[name]).marks(text))
    assert found.log_p[0] < math.log(1e-6)
    other = dict(OPTIONS[name])
    other["key"] = tuple(range(50, 80)) if name == "synthid" else 99
    assert detect(make_scheme(name, **other).marks(text)).log_p[0] > math.log(1e-3)


@pytest.mark.parametrize("name", sorted(OPTIONS))
def test_by_chance_p_is_not_too_small(name: str) -> None:
    """Documents of 100 random tokens, a key each: P(p <= a) <= a, within Monte Carlo error."""
    rng = np.random.default_rng(2)
    p = []
    for key in range(1, 301):
        options = dict(OPTIONS[name])
        options["key"] = tuple((rng.integers(1, 10**6, 30)).tolist()) if name == "synthid" else key
        documents = Ragged.from_lengths(rng.zipf(1.5, 1000) % 500, [100] * 10)
        p.append(np.exp(detect(make_scheme(name, **options).marks(documents)).log_p))
    values = np.concatenate(p)
    for alpha in (0.1, 0.01):
        # documents of one key depend on each other a little: twice the binomial error
        assert np.mean(values <= alpha) < alpha + 2 * 3 * math.sqrt(alpha / len(values))
    if name in ("vllm-gumbel", "sglang-gumbel"):  # a continuous law
        assert abs(np.mean(values <= 0.5) - 0.5) < 0.06


def test_every_scheme_is_tried() -> None:
    assert set(OPTIONS) <= set(SCHEMES)


def test_keys_are_never_shown() -> None:
    for name, options in OPTIONS.items():
        secret = {**options, "key": (987654321,) if name == "synthid" else 987654321}
        assert "987654321" not in repr(make_scheme(name, **secret))
    with pytest.raises(ValueError, match="key must lie") as caught:
        make_scheme("vllm-gumbel", key=2**64 + 987654321)
    assert "987654321" not in str(caught.value)


def marks_of(lists: list[list[tuple[int, int]]], values: list[int]) -> Marks:
    flat = [pair for row in lists for pair in row]
    lengths = [len(row) for row in lists]
    return Marks(
        np.array(values, np.uint8),
        np.array([seed for seed, _ in flat], np.uint64),
        np.array([target for _, target in flat], np.int64),
        np.concatenate([np.arange(n) for n in lengths]) if lengths else np.zeros(0, np.int64),
        np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        Null("green", share=0.25),
    )


def test_pairs_count_once_in_a_document_or_in_the_corpus() -> None:
    rng = np.random.default_rng(0)
    lists = [[(int(a), int(b)) for a, b in rng.integers(0, 6, (40, 2))] for _ in range(30)]
    marks = marks_of(lists, [1] * 1200)
    kept = deduplicated(marks)
    assert kept.lengths.tolist() == [len(set(row)) for row in lists]
    whole = deduplicated(marks, "corpus")
    assert len(whole.values) == len({pair for row in lists for pair in row})
    # sums over the counts of each pair, by hand
    for row, n in zip(lists, effective_n(marks), strict=True):
        counts = np.array([row.count(pair) for pair in set(row)])
        assert n == pytest.approx(40**2 / (counts**2).sum())
    sets = [set(row) for row in lists]
    expected = sum(
        len(a & b) / math.sqrt(len(a) * len(b)) for a, b in itertools.product(sets, sets)
    ) / len(sets)
    assert design_effect(kept) == pytest.approx(expected)


def test_design_effect_is_the_variance_over_keys() -> None:
    """The variance of the mean z of 20 documents over 4,000 keys, drawn."""
    rng = np.random.default_rng(5)
    lists = [sorted({(int(a), int(b)) for a, b in rng.integers(0, 5, (25, 2))}) for _ in range(20)]
    marks = marks_of(lists, [0] * sum(map(len, lists)))
    codes = marks.seeds.astype(np.int64) * 5 + marks.targets
    means = []
    for _ in range(4000):
        green = rng.random(25) < 0.25
        count = Ragged(green[codes].astype(np.int64), marks.offsets).sum()
        n = marks.lengths
        means.append(np.mean((count - 0.25 * n) / np.sqrt(n * 0.25 * 0.75)))
    ratio = np.var(means) * 20
    assert ratio == pytest.approx(design_effect(marks), rel=4 * math.sqrt(2 / 4000))


def test_unigram_is_hypergeometric() -> None:
    scheme = make_scheme("unigram", vocabulary=40, key=1, share=0.25)
    text = Ragged.from_lists([list(range(20)), [5] * 30 + [6, 7], []], np.int64)
    marks = scheme.marks(text)
    found = detect(marks)
    green = marks.values[:20].sum()
    assert np.exp(found.log_p[0]) == pytest.approx(stats.hypergeom(40, 10, 20).sf(green - 1))
    assert found.n_scored.tolist() == [20, 3, 0]
    assert found.n_repeated.tolist() == [0, 29, 0]
    assert np.isnan(found.log_p[2])


def test_green_lists_that_several_targets_share() -> None:
    """Two seeds with 8 and 5 distinct targets: hypergeometric laws, convolved by hand."""
    pairs = [(1, t) for t in range(8)] + [(2, t) for t in range(5)]
    values = [1, 1, 1, 0, 0, 0, 0, 1, 1, 0, 0, 1, 0]
    marks = marks_of([pairs], values)
    marks = Marks(
        marks.values, marks.seeds, marks.targets, marks.positions, marks.offsets,
        Null("green", 0.25, greens=5, vocabulary=20),
    )  # fmt: skip
    laws = [stats.hypergeom(20, 5, m).pmf(np.arange(m + 1)) for m in (8, 5)]
    expected = np.convolve(*laws)[sum(values) :].sum()
    assert np.exp(detect(marks).log_p[0]) == pytest.approx(expected, rel=1e-9)


def test_vllm_vectors() -> None:
    tokens = Ragged.from_lists([[101, 7, 7, 2050, 128000, 5, 101, 7, 7, 2050, 99, 3]], np.int64)
    single = detect(make_scheme("vllm-gumbel", key=42).marks(tokens))
    assert single.n_scored[0] == 11
    assert single.statistic[0] == pytest.approx(5.476485916007466, abs=1e-12)
    assert math.exp(single.log_p[0]) == pytest.approx(0.9754130859774053, abs=1e-12)
    dual = detect(make_scheme("vllm-dual-gumbel", key=42).marks(tokens))
    assert dual.statistic[0] == pytest.approx(11.276369463207546, abs=1e-6)
    # theirs moment-matches one Gamma: .4276966; near the middle the two are close
    assert math.exp(dual.log_p[0]) == pytest.approx(0.4277, abs=0.01)


def test_sglang_vector() -> None:
    tokens = Ragged.from_lists([[101, 7, 7, 2050, 128000, 5, 101, 7, 7, 2050, 99, 3]], np.int64)
    found = detect(make_scheme("sglang-gumbel", key=0x0123456789ABCDEF).marks(tokens))
    assert found.n_scored[0] == 7
    assert found.statistic[0] == pytest.approx(8.027902460416849, abs=1e-12)
    assert found.log_p[0] == pytest.approx(-1.171253239809353, abs=1e-12)


def test_what_does_not_fit_is_refused() -> None:
    green = marks_of([[(1, 1)]], [1])
    with pytest.raises(ValueError, match="sum, weighted for green marks"):
        detect(green, "optimal")
    with pytest.raises(ValueError, match="needs weights"):
        detect(green, "weighted")
    with pytest.raises(ValueError, match="takes no weights"):
        detect(green, weights=[1.0])
    with pytest.raises(ValueError, match="shape"):
        detect(green, "weighted", weights=[1.0, 2.0])
    with pytest.raises(ValueError, match="scope"):
        deduplicated(green, "page")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="document 1"):
        make_scheme("kgw", vocabulary=10).marks(Ragged.from_lists([[1], [2, 10]], np.int64))
    with pytest.raises(ValueError, match="whole numbers"):
        make_scheme("vllm-gumbel", key=1).marks(Ragged.from_lists([[1.5]]))
    with pytest.raises(ValueError, match="no scheme"):
        make_scheme("magic")


def test_trgof_finds_a_few_marked_tokens_among_many() -> None:
    """Its p of uniform pivots is uniform, and one text in which a tenth is nearly 1 is found."""
    rng = np.random.default_rng(8)
    y = rng.uniform(size=(400, 100))
    y[0, :10] = 1 - 1e-6 * rng.uniform(size=10)
    n = np.arange(40_000)
    offsets = np.arange(0, 40_001, 100)
    marks = Marks(y.ravel(), n.astype(np.uint64), n, n, offsets, Null("uniform"))
    found = detect(marks, "trgof")
    assert found.log_p[0] < math.log(1e-6)
    assert stats.kstest(np.exp(found.log_p[1:]), "uniform").pvalue > 1e-3


def test_weighted_green_against_enumeration() -> None:
    marks = marks_of([[(i, i) for i in range(6)]], [1, 0, 1, 1, 0, 1])
    weights = np.array([1.0, 2.0, 3.0, 1.0, 5.0, 2.0])
    found = detect(marks, "weighted", weights=weights)
    coins = np.array(list(itertools.product([0, 1], repeat=6)))
    chance = 0.25 ** coins.sum(1) * 0.75 ** (6 - coins.sum(1))
    expected = chance[coins @ weights >= 7].sum()
    assert np.exp(found.log_p[0]) == pytest.approx(expected)


def test_a_certificate_covers_the_rate() -> None:
    """200 corpora whose p-values are too small by a half: intervals hold the true rate 2 alpha."""
    rng = np.random.default_rng(3)
    held = tail = 0
    for _ in range(200):
        p = rng.uniform(size=3000) / 2
        found = certify(np.log(p), (0.01,))
        interval = found.rates[0].interval(0.95)
        held += interval.low <= 0.02 <= interval.high
        assert found.uniformity.p_value < 1e-6
    assert held >= 0.93 * 200
    for seed in range(25):
        log_p = -np.random.default_rng(seed).exponential(size=3000)
        fit = certify(log_p).tail
        assert fit is not None
        interval = fit.rate(1e-5).interval(0.95)
        tail += interval.low <= 1e-5 <= interval.high
    assert tail >= 20  # 95 % of 25, less three standard errors
    with pytest.raises(ValueError, match="no document"):
        certify([math.nan])


def test_segments_are_found_and_chance_finds_none() -> None:
    found = held = false = 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        y = rng.uniform(size=500)
        n = np.arange(500)
        seeds = n.astype(np.uint64)
        null = Marks(y.copy(), seeds, n, n, np.array([0, 500]), Null("uniform"))
        false += bool(locate(null, alpha=0.05))
        y[150:350] **= 0.4  # the chosen token had probability .4
        segments = locate(Marks(y, seeds, n, n, np.array([0, 500]), Null("uniform")), delta=0.5)
        found += len(segments) == 1
        held += bool(segments) and (
            segments[0].start_set[0] <= 150 <= segments[0].start_set[1]
            and segments[0].stop_set[0] <= 350 <= segments[0].stop_set[1]
        )
    assert false <= 7  # 5 % of 60 and three standard errors, at most
    assert found >= 57
    assert held >= 54  # both boundaries: at least 90 %


@pytest.mark.parametrize("name", OPTIONS)
@pytest.mark.parametrize("rows", [[], [[]], [[], [7]]])
def test_documents_without_marks_have_no_p_value(name: str, rows: list[list[int]]) -> None:
    scheme = make_scheme(name, **OPTIONS[name])
    found = detect(scheme.marks(Ragged.from_lists(rows, np.int64)))
    assert found.log_p.shape == (len(rows),)
    nothing = found.n_scored == 0
    assert np.isnan(found.log_p[nothing]).all()
    assert not np.isnan(found.log_p[~nothing]).any()
