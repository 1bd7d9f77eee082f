"""Texts that begin otherwise than the generator had them: prompts and special tokens."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pytest

from statllm.estimators.watermark.detect import detect
from statllm.estimators.watermark.schemes import SCHEMES, make_scheme
from statllm.ragged import Ragged
from statllm.scoring.watermarks import Configuration, Diagnosis, diagnose
from statllm.scoring.watermarks.mistakes import AS_DEPLOYED
from statllm.scoring.watermarks.readings import Reading, after_prompts, changed_evidence

V = 300
LM = {"flavour": "lm-watermarking", "context_width": 4, "bias": 5.0}
#: Of which the context reaches into the prompt, if that is what the generator had.
OPTIONS: dict[str, dict[str, Any]] = {
    "sglang-gumbel": {"key": 42},
    "vllm-gumbel": {"key": 42},
    "kgw": {"vocabulary": V, "seeding": "additive", **LM},
    "synthid": {"key": tuple(range(1, 31)), "flavour": "deepmind"},
}
Rows = list[list[int]]


def written(scheme: Any, before: Rows, length: int, seed: int = 0) -> Rows:
    """Texts over V tokens, each written after the tokens that the generator had before."""
    rng = np.random.default_rng(seed)
    out = []
    for start in before:
        text = list(start)
        for _ in range(length):
            law = rng.dirichlet(np.full(V, 0.3))
            if scheme is not None:
                law = scheme.reweighted(law, np.array(text, np.int64))
            text.append(int(rng.choice(V, p=law)))
        out.append(text[len(start) :])
    return out


def ragged(rows: Rows) -> Ragged:
    return Ragged.from_lists(rows, np.int64)


def random_prompts(n: int, length: int = 20) -> Rows:
    return np.random.default_rng(9).integers(0, V, (n, length)).tolist()


def named(found: Diagnosis) -> set[str]:
    return {each.mistake for each in found.findings if each.found}


@pytest.mark.parametrize("name", OPTIONS)
def test_short_answers_without_their_prompts(name: str) -> None:
    """Four tokens each: next to all of the mark hangs on the prompt."""
    scheme = make_scheme(name, **OPTIONS[name])
    prompts = random_prompts(60)
    texts = written(scheme, prompts, 4)
    ours = Configuration("ours", scheme)
    found = diagnose(ragged(texts), ours, prompts=ragged(prompts), special_tokens=[0, 1])
    assert found.verdict == "prompt missing"
    finding = next(each for each in found.findings if each.mistake == "prompt missing")
    assert "contexts that reach into the prompt: 240 tokens" in finding.evidence
    assert found.deployed.log_p != found.deployed.log_p or found.deployed.log_p > math.log(0.01)
    # the advice: a prompt's last tokens, as many as the context is wide, before each text
    mended = [prompt[-4:] + text for prompt, text in zip(prompts, texts, strict=True)]
    joined = [token for row in mended for token in row]
    assert detect(scheme.marks(ragged([joined]))).log_p[0] < math.log(1e-6)
    assert diagnose(ragged(texts), ours).verdict != "prompt missing"


def test_long_answers_are_found_anyway() -> None:
    """The verdict is that nothing is wrong; that the first tokens were lost is listed."""
    scheme = make_scheme("sglang-gumbel", key=42)
    prompts = random_prompts(40)
    texts = written(scheme, prompts, 60)
    ours = Configuration("ours", scheme)
    found = diagnose(ragged(texts), ours, prompts=ragged(prompts))
    assert found.verdict == AS_DEPLOYED
    assert "prompt missing" in named(found)


@pytest.mark.parametrize("length", [4, 60])
def test_a_generator_that_had_no_prompt(length: int) -> None:
    """vLLM's contexts begin with the response: its prompts aren't missing."""
    scheme = make_scheme("vllm-gumbel", key=42)
    texts = written(scheme, [[]] * 60, length)
    found = diagnose(
        ragged(texts), Configuration("ours", scheme), prompts=ragged(random_prompts(60)),
        special_tokens=[0, 1],
    )  # fmt: skip
    assert named(found) - {"too little to see"} == {AS_DEPLOYED}
    assert found.verdict == AS_DEPLOYED


def test_a_token_of_beginning_that_is_too_much() -> None:
    """Contexts that should start with the text start with BOS."""
    scheme = make_scheme("vllm-gumbel", key=42)
    texts = [[1, *text] for text in written(scheme, [[]] * 80, 4)]
    found = diagnose(ragged(texts), Configuration("ours", scheme), special_tokens=[1, 2])
    assert found.verdict == "special tokens"
    finding = next(each for each in found.findings if each.mistake == "special tokens")
    assert "texts without the token 1 that all begin with" in finding.evidence


def test_a_token_of_beginning_that_is_too_few() -> None:
    """The generator had BOS before the text, and its first context needs it."""
    scheme = make_scheme("sglang-gumbel", key=42, context_width=2)
    texts = written(scheme, [[1]] * 150, 2)
    found = diagnose(ragged(texts), Configuration("ours", scheme), special_tokens=[1, 2])
    assert found.verdict == "special tokens"
    finding = next(each for each in found.findings if each.mistake == "special tokens")
    assert "texts after token 1" in finding.evidence
    assert diagnose(ragged(texts), Configuration("ours", scheme)).verdict != "special tokens"


def test_special_tokens_inside() -> None:
    """A turn's end after every second token, which the generator never had as context."""
    scheme = make_scheme("sglang-gumbel", key=42)
    texts = written(scheme, random_prompts(20), 40)
    broken = [[t for k in range(0, 40, 2) for t in (*text[k : k + 2], 299)] for text in texts]
    found = diagnose(ragged(broken), Configuration("ours", scheme), special_tokens=[299])
    assert found.verdict == "special tokens"
    finding = next(each for each in found.findings if each.mistake == "special tokens")
    assert "texts without special tokens" in finding.evidence


@pytest.mark.parametrize("name", [*OPTIONS, "unigram", "dipmark", "textseal-gumbel"])
def test_p_values_of_unmarked_beginnings(name: str) -> None:
    """300 keys on the same texts and prompts: sizes are at most nominal + 3 Monte Carlo errors."""
    rng = np.random.default_rng(2)
    options = OPTIONS.get(name) or ({} if "gumbel" in name else {"vocabulary": V})
    texts, prompts = ragged(written(None, [[]] * 30, 6, seed=1)), ragged(random_prompts(30))
    reading = after_prompts(texts, prompts)
    log_p = []
    for _ in range(300):
        n = 30 if name == "synthid" else 1
        key = tuple(rng.integers(0, 2**40, n).tolist())
        scheme = make_scheme(name, **{**options, "key": key if n > 1 else key[0]})
        log_p.append(changed_evidence(scheme, texts, reading).log_p)
    if name == "unigram":  # one list for all contexts: a prompt changes nothing
        assert np.isnan(log_p).all()
        return
    for level in (0.05, 0.2):
        size = np.mean(np.exp(log_p) <= level)
        assert size <= level + 3 * math.sqrt(level * (1 - level) / 300)
    assert np.mean(np.exp(log_p) <= 0.5) > 0.3


@pytest.mark.parametrize("name", sorted(SCHEMES))
def test_what_changes_against_a_search(name: str) -> None:
    """Marks token by token: those of the reading that the texts as given don't have."""
    own: dict[str, Any] = {
        "vocabulary": V, "key": tuple(range(1, 31)) if name == "synthid" else 7,
        "seeding": "selfhash", "context_width": 3,
    }  # fmt: skip
    known = {f.name for f in dataclasses.fields(type(make_scheme_default(name)))}
    scheme = make_scheme(name, **{k: v for k, v in own.items() if k in known and fits(name, k)})
    rng = np.random.default_rng(3)
    rows = [rng.integers(0, V, n).tolist() for n in (7, 0, 1, 12)]
    prompts = [rng.integers(0, V, n).tolist() for n in (5, 3, 0, 2)]
    texts = ragged(rows)
    reading = after_prompts(texts, ragged(prompts))

    def table(each: Ragged, shift: list[int]) -> set[tuple[int, ...]]:
        marks = scheme.marks(each)
        found = zip(
            marks.documents.tolist(), marks.positions.tolist(), marks.seeds.tolist(),
            marks.targets.tolist(), strict=True,
        )  # fmt: skip
        return {(d, p - shift[d], s, t) for d, p, s, t in found if p >= shift[d]}

    lengths = [len(prompt) for prompt in prompts]
    changed = table(reading.tokens, lengths) - table(texts, [0] * 4)
    distinct = {(s, t) for _, _, s, t in changed}
    found = changed_evidence(scheme, texts, reading)
    if scheme.marks(texts).once_per == "pair" and name != "unigram":
        assert found.n_scored == len(distinct)
    assert found.n_scored + found.n_repeated == len(changed)


def make_scheme_default(name: str) -> Any:
    """A scheme with what it must be given."""
    for options in ({}, {"vocabulary": V}, {"key": 7}, {"vocabulary": V, "key": 7},
                    {"key": (1, 2)}):  # fmt: skip
        try:
            return make_scheme(name, **options)
        except (TypeError, ValueError):
            continue
    raise AssertionError(name)


def fits(name: str, option: str) -> bool:
    """Self-hash is of some schemes alone."""
    return option != "seeding" or name in ("kgw", "sbw")


def test_tokens_that_the_scheme_can_not_read() -> None:
    scheme = make_scheme("kgw", vocabulary=10)
    texts = ragged([[1, 2]])
    reading = Reading("", "", ragged([[11, 1, 2]]), np.array([-1, 0, 1]))
    assert math.isnan(changed_evidence(scheme, texts, reading).log_p)
