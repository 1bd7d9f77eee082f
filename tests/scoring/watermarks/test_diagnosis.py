"""Mistakes that are really made, and that the battery calls by their names."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pytest

from statllm.errors import InputError
from statllm.estimators.watermark.cuda_lists import CudaKgw, CudaSynthId
from statllm.estimators.watermark.prf.kgw import Kgw
from statllm.estimators.watermark.schemes import make_scheme
from statllm.ragged import Ragged
from statllm.scoring.watermarks import Configuration, diagnose
from statllm.scoring.watermarks.mistakes import AS_DEPLOYED, NOTHING, TOO_LITTLE, UNKNOWN_KEY

V = 300
OPTIONS: dict[str, dict[str, Any]] = {
    "vllm-gumbel": {"key": 42},
    "sglang-gumbel": {"key": 42},
    "vllm-dual-gumbel": {"key": 42},
    "kgw": {"vocabulary": V, "key": 15485863},
    "unigram": {"vocabulary": V, "key": 4, "bias": 4.0},
    "synthid": {"key": tuple(range(1, 31))},
}
#: Of which a prefix without signal is seen in 16 texts.
STRONG = ("vllm-gumbel", "sglang-gumbel", "vllm-dual-gumbel", "synthid", "kgw")


def scheme_of(name: str, **changes: Any) -> Any:
    return make_scheme(name, **{**OPTIONS[name], **changes})


def texts(
    scheme: Any, n: int = 16, length: int = 120, seed: int = 0, concentration: float = 0.3
) -> list[np.ndarray]:
    """Texts over V tokens; without a scheme, unmarked."""
    rng = np.random.default_rng(seed)
    out = []
    for _ in range(n):
        text: list[int] = []
        for _ in range(length):
            law = rng.dirichlet(np.full(V, concentration))
            if scheme is not None:
                law = scheme.reweighted(law, np.array(text, np.int64))
            text.append(int(rng.choice(V, p=law)))
        out.append(np.array(text))
    return out


def ragged(rows: list[np.ndarray]) -> Ragged:
    return Ragged.from_lists([row.tolist() for row in rows], np.int64)


def other_key(name: str) -> Any:
    return tuple(range(60, 90)) if name == "synthid" else 987654321


@pytest.fixture(scope="module")
def marked() -> dict[str, list[np.ndarray]]:
    return {name: texts(scheme_of(name)) for name in OPTIONS}


@pytest.mark.parametrize("name", sorted(OPTIONS))
def test_a_right_one_has_nothing_wrong(name: str, marked: dict[str, list[np.ndarray]]) -> None:
    others = [Configuration("other", scheme_of(name, key=other_key(name)))]
    found = diagnose(
        ragged(marked[name]), Configuration("ours", scheme_of(name)), others=others,
        vocabularies=[320], reference=ragged(texts(None, seed=9)), device="cpu",
    )  # fmt: skip
    assert found.verdict == AS_DEPLOYED
    assert found.deployed.log_p < math.log(1e-6)
    named = {each.mistake for each in found.findings if each.found} - {AS_DEPLOYED, UNKNOWN_KEY}
    assert named <= {"wrong settings"}  # another share of the same list sees some of the mark


@pytest.mark.parametrize("name", sorted(OPTIONS))
def test_another_key(name: str, marked: dict[str, list[np.ndarray]]) -> None:
    right = Configuration("theirs", scheme_of(name))
    ours = Configuration("ours", scheme_of(name, key=other_key(name)))
    found = diagnose(ragged(marked[name]), ours, others=[ours, right])
    assert found.verdict == "wrong key"
    finding = next(each for each in found.findings if each.mistake == "wrong key")
    assert "'theirs'" in finding.evidence
    assert finding.log_p_adjusted < math.log(1e-6)
    assert "987654321" not in repr(found)
    assert "15485863" not in repr(found)


@pytest.mark.parametrize("name", sorted(OPTIONS))
def test_human_text_is_not_diagnosed(name: str) -> None:
    human = ragged(texts(None, seed=5))
    others = [Configuration("other", scheme_of(name, key=other_key(name)))]
    found = diagnose(
        human, Configuration("ours", scheme_of(name)), others=others, vocabularies=[320],
        reference=ragged(texts(None, seed=6)), prompts=ragged(texts(None, seed=7, length=9)),
        special_tokens=[0, 1],
    )  # fmt: skip
    assert found.verdict == NOTHING
    assert not any(each.found for each in found.findings)


@pytest.mark.parametrize(
    ("name", "change", "evidence"),
    [
        ("vllm-gumbel", {"context_width": 2}, "context_width 2"),
        ("sglang-gumbel", {"context_width": 1}, "context_width 1"),
        ("synthid", {"ngram": 4}, "ngram 4"),
        ("synthid", {"flavour": "deepmind"}, "flavour deepmind"),
        ("kgw", {"share": 0.5}, "share 0.5"),
        ("kgw", {"seeding": "selfhash", "context_width": 4}, "selfhash of transformers"),
        (
            "kgw",
            {"seeding": "minhash", "context_width": 4, "flavour": "lm-watermarking"},
            "minhash of lm-watermarking",
        ),
    ],
)
def test_other_settings(name: str, change: dict[str, Any], evidence: str) -> None:
    written = texts(scheme_of(name, **change), n=5)
    found = diagnose(ragged(written), Configuration("ours", scheme_of(name)))
    assert found.verdict == "wrong settings"
    finding = next(each for each in found.findings if each.mistake == "wrong settings")
    assert evidence in finding.evidence


@pytest.mark.parametrize(("name", "given"), [("kgw", 300), ("kgw", 289), ("unigram", 301)])
def test_another_vocabulary_size(name: str, given: int) -> None:
    """The model's logits are padded to 320; the tokenizer has fewer."""
    written = texts(_Padded(scheme_of(name, vocabulary=320)))
    ours = Configuration("ours", scheme_of(name, vocabulary=given))
    found = diagnose(ragged(written), ours)
    assert found.verdict == "wrong vocabulary size"
    finding = next(each for each in found.findings if each.mistake == "wrong vocabulary size")
    assert finding.evidence == "vocabulary 320"
    outside = [each for each in found.findings if math.isnan(each.log_p)]
    assert bool(outside) == (given < 300)
    if outside:
        assert "token ids aren't below the vocabulary of 289" in outside[0].evidence


@dataclasses.dataclass(frozen=True)
class _Padded:
    """A scheme over 320 logits of which the last 20 have no mass."""

    scheme: Any

    def reweighted(self, law: np.ndarray, prefix: np.ndarray) -> np.ndarray:
        return np.asarray(self.scheme.reweighted(np.append(law, np.zeros(20)), prefix)[:V])


@pytest.mark.parametrize("name", STRONG)
@pytest.mark.parametrize("given", [True, False], ids=["prompt column", "no prompt column"])
def test_a_prompt_glued_on(name: str, given: bool, marked: dict[str, list[np.ndarray]]) -> None:
    rng = np.random.default_rng(8)
    written = marked[name] if name != "kgw" else texts(scheme_of(name, bias=4.0), n=30)
    prompts = [rng.integers(0, V, rng.integers(40, 90)) for _ in written]
    glued = [np.concatenate(pair) for pair in zip(prompts, written, strict=True)]
    found = diagnose(
        ragged(glued), Configuration("ours", scheme_of(name)),
        prompts=ragged(prompts) if given else None,
    )  # fmt: skip
    assert found.verdict == "prompt included"
    tested = next(each for each in found.findings if each.mistake == "prompt included")
    if given:
        assert any("100% of the texts begin" in each.evidence for each in found.findings)
    else:
        assert "have less than 0.25 of the signal" in tested.evidence


def test_prompts_that_are_not_there(marked: dict[str, list[np.ndarray]]) -> None:
    prompts = ragged([np.array([1, 2, 3])] * 16)
    found = diagnose(
        ragged(marked["vllm-gumbel"]), Configuration("ours", scheme_of("vllm-gumbel")),
        prompts=prompts,
    )  # fmt: skip
    assert found.verdict == AS_DEPLOYED


@pytest.mark.parametrize("narrow", [False, True])
def test_lists_of_a_gpu(narrow: bool) -> None:
    scheme = Kgw(vocabulary=V)
    written = texts(CudaKgw(scheme, None, narrow))
    found = diagnose(ragged(written), Configuration("ours", scheme))
    assert found.verdict == "device-generated"
    finding = next(each for each in found.findings if each.mistake == "device-generated")
    assert ("of older versions" in finding.evidence) == narrow


@pytest.mark.parametrize("blocks", [None, 160])
def test_a_table_of_a_gpu(blocks: int | None) -> None:
    scheme = scheme_of("synthid")
    written = texts(CudaSynthId(scheme.key, most_blocks=blocks))
    found = diagnose(ragged(written), Configuration("ours", scheme))
    assert found.verdict == "device-generated"
    finding = next(each for each in found.findings if each.mistake == "device-generated")
    assert ("T4" in finding.evidence) == (blocks is not None)


def test_a_gpu_by_exclusion() -> None:
    """Self-hash lists of a GPU aren't known here; that it was one has been said."""
    scheme = scheme_of("kgw", seeding="selfhash", context_width=4)
    human = ragged(texts(None, seed=5))
    assert diagnose(human, Configuration("ours", scheme), device="cuda").verdict == (
        "device-generated"
    )
    assert diagnose(human, Configuration("ours", scheme), device="cpu").verdict == NOTHING


@pytest.mark.parametrize("name", ["vllm-gumbel", "sglang-gumbel", "kgw"])
def test_a_key_that_is_not_listed(name: str) -> None:
    """The same few contexts lead to the same tokens: against unmarked text of the same laws."""
    width = {"context_width": 1} if name != "kgw" else {"bias": 4.0}
    scheme = scheme_of(name, **width)
    written, free = (texts(s, n=40, seed=k, concentration=3.0) for s, k in ((scheme, 1), (None, 2)))
    ours = Configuration("ours", dataclasses.replace(scheme, key=987654321))
    found = diagnose(ragged(written), ours, reference=ragged(free))
    assert found.verdict == UNKNOWN_KEY
    assert diagnose(ragged(written), ours).verdict in (NOTHING, TOO_LITTLE)  # few contexts


def test_too_little_to_see() -> None:
    scheme = scheme_of("vllm-gumbel")
    ours = Configuration("ours", scheme)
    short = ragged([np.arange(9)] * 3)
    found = diagnose(short, ours)
    assert found.verdict == TOO_LITTLE
    assert "9 distinct pairs of 27 tokens" in found.findings[-1].evidence
    # nearly certain tokens: the model says so, and a chance of being seen is small
    human = ragged(texts(None, seed=5, n=4))
    sure = np.full(480, -1e-4)
    assert diagnose(human, ours, log_probabilities=sure).verdict == TOO_LITTLE
    assert diagnose(human, ours, log_probabilities=np.full(480, -3.0)).verdict == NOTHING
    same = ragged([np.full(3000, 7)])
    assert diagnose(same, Configuration("k", scheme_of("kgw"))).verdict == TOO_LITTLE


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"alpha": 1.0}, "alpha must lie"),
        ({"tokens": Ragged.from_lists([[]], np.int64)}, "no token"),
        ({"prompts": Ragged.from_lists([[1]], np.int64)}, "prompts has another number"),
        ({"rereadings": {"b": Ragged.from_lists([[1]], np.int64)}}, "b has another number"),
        ({"reference": Ragged.from_lists([[1]], np.int64)}, "two documents or more"),
    ],
)
def test_what_is_refused(changes: dict[str, Any], message: str) -> None:
    given = {"tokens": ragged(texts(None, n=3, length=20)), **changes}
    with pytest.raises(InputError, match=message):
        diagnose(given.pop("tokens"), Configuration("a", scheme_of("vllm-gumbel")), **given)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["kgw", "vllm-gumbel", "synthid", "unigram"])
def test_how_often_human_text_is_diagnosed(name: str) -> None:
    """150 corpora under 150 keys, alpha = .05: at most 5 % and three standard errors, 10.3 %."""
    rng = np.random.default_rng(0)
    named = 0
    zipf = 1 / np.arange(1, V + 1)
    for _ in range(150):
        rows, free = ([rng.choice(V, 60, p=zipf / zipf.sum()) for _ in range(12)] for _ in range(2))
        n_keys = 30 if name == "synthid" else 1
        keys = [tuple(rng.integers(0, 2**40, n_keys).tolist()) for _ in range(3)]
        schemes = [scheme_of(name, key=k if n_keys > 1 else k[0]) for k in keys]
        ours, *others = (Configuration(f"c{i}", s) for i, s in enumerate(schemes))
        found = diagnose(
            ragged(rows), ours, others=others, reference=ragged(free), alpha=0.05, rng=rng,
            prompts=ragged([row[:20] for row in free]), special_tokens=[0, V - 1],
        )  # fmt: skip
        named += found.verdict not in (NOTHING, TOO_LITTLE)
    assert named / 150 <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 150)
