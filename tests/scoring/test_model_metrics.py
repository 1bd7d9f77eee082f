"""`score` and `statllm score` with models: columns equal to their estimators, and what is said."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from statllm.cli import main
from statllm.errors import InputError
from statllm.estimators import (
    Pairwise,
    nli_similarity,
    semantic_density,
    semantic_entropy,
    sentence_sar,
)
from statllm.files import write_parquet
from statllm.generations import Generations
from statllm.scoring import score
from statllm.scoring.embeddings import embed
from statllm.scoring.metrics import METRICS
from statllm.scoring.nli import nli_logits

TEXTS = [
    ["it is 3", "three", "3", "it is 4", "3"],
    ["no idea", "0", "it is zero"],
    ["1"],
    [],
]
SETS = [[0, 0, 0, 1, 0], [0, 1, 1], [0], []]
LOGPROBS = [[-1.0, -2.0, -0.5, -4.0, -0.5], [-3.0, -1.0, -1.5], [-0.25], []]
TOKENS = [[3, 1, 1, 3, 1], [2, 1, 3], [1], []]

NLI = {name for name, metric in METRICS.items() if metric.model == "nli"}
EMBEDDING = {name for name, metric in METRICS.items() if metric.model == "embedder"}


@pytest.fixture
def table() -> Generations:
    return Generations(
        pa.table(
            {
                "prompt_id": ["a", "b", "c", "d"],
                "prompt": ["what is x"] * 4,
                "response": pa.array(TEXTS, pa.list_(pa.string())),
                "logprob": pa.array(LOGPROBS, pa.list_(pa.float64())),
                "n_tokens": pa.array(TOKENS, pa.list_(pa.int32())),
            }
        )
    )


def columns(scored: Generations, names: set[str]) -> dict[str, np.ndarray]:
    return {name: scored.column(name).to_numpy() for name in names if name in scored}


def test_nli_metrics_are_those_of_the_true_clusters(
    table: Generations, nli_folder: Path, tmp_path: Path
) -> None:
    scored = score(table, metrics=("all",), nli=str(nli_folder), model_cache=str(tmp_path))
    found = columns(scored, NLI)
    assert set(found) == NLI
    assert not EMBEDDING & set(scored.table.column_names)
    for name, values in found.items():
        assert np.isnan(values[3]), name
        assert np.isfinite(values[:2]).all(), name
    close = {"rtol": 0, "atol": 1e-12}
    expected = {
        "semantic_entropy_nli": semantic_entropy(SETS).value,
        "n_semantic_sets_nli": [2, 2, 1, np.nan],
        "semantic_entropy_nli_jlko": semantic_entropy(
            SETS, LOGPROBS, "jlko", n_tokens=TOKENS
        ).value,
        "semantic_entropy_nli_lm_polygraph": semantic_entropy(SETS, LOGPROBS, "lm_polygraph").value,
        "semantic_entropy_nli_likelihood": semantic_entropy(
            SETS, LOGPROBS, "likelihood", texts=TEXTS
        ).value,
    }
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, err_msg=name, **close)
    # Of an ideal model, and this one is nearly that: 8 of 20 and 4 of 6 ordered pairs differ.
    np.testing.assert_allclose(found["degree_nli"], [0.4, 4 / 6, np.nan, np.nan], atol=0.03)
    np.testing.assert_allclose(found["eigenvalue_nli"], [2, 2, 1, np.nan], atol=0.1)
    assert np.isnan(found["semantic_density_complement"][2])  # a lone sample is no evidence


def test_they_agree_with_an_ideal_model(
    world: SimpleNamespace, table: Generations, nli_folder: Path, tmp_path: Path
) -> None:
    scored = score(table, metrics=("all",), nli=str(nli_folder), model_cache=str(tmp_path))
    value = {"entailment": 1.0, "neutral": 0.5, "contradiction": 0.0}
    graded = Pairwise.from_blocks(
        [
            np.array([[value[world.relation(a, b)] for b in row] for a in row]).reshape(
                len(row), len(row)
            )
            for row in TEXTS
        ]
    )
    density = semantic_density(LOGPROBS, TOKENS, graded).mean()
    found = columns(scored, NLI)
    np.testing.assert_allclose(found["semantic_density_complement"][:2], 1 - density[:2], atol=0.03)
    # SentSAR takes even 0.001 of a similarity for a whole response: compared on the same ones.
    entails = nli_similarity(nli_logits(TEXTS, nli_folder, cache=tmp_path), logits=True)
    np.testing.assert_allclose(found["sentence_sar_nli"], sentence_sar(LOGPROBS, entails))


def test_embedding_metrics(table: Generations, encoder_folder: Path, tmp_path: Path) -> None:
    scored = score(
        table,
        metrics=("all",),
        embedder=str(encoder_folder),
        model_cache=str(tmp_path),
        embedding_threshold=0.9999,
    )
    found = columns(scored, EMBEDDING)
    assert set(found) == EMBEDDING
    assert not NLI & set(scored.table.column_names)
    vectors = embed(TEXTS, encoder_folder, normalize=True, cache=tmp_path)[:5].astype(np.float64)
    cosine = vectors @ vectors.T
    mean = (cosine.sum() - np.trace(cosine)) / 20
    assert found["cosine_dissimilarity"][0] == pytest.approx(1 - mean, abs=1e-6)
    assert np.isnan(found["cosine_dissimilarity"][2:]).all()
    apart = semantic_entropy([[0, 1, 2, 3, 2], [0, 1, 2]]).value  # only equal texts are together
    np.testing.assert_allclose(found["semantic_entropy_embedding"][:2], apart)
    np.testing.assert_array_equal(found["n_semantic_sets_embedding"], [4, 3, 1, np.nan])


def test_a_second_run_makes_no_forward_pass(
    table: Generations,
    nli_folder: Path,
    encoder_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import torch

    given: dict[str, Any] = {
        "metrics": ("all",),
        "nli": str(nli_folder),
        "embedder": str(encoder_folder),
        "model_cache": str(tmp_path),
    }
    calls = []
    torch_call = torch.nn.Module.__call__

    def counted(self: Any, *arguments: Any, **named: Any) -> Any:
        calls.append(type(self).__name__)
        return torch_call(self, *arguments, **named)

    monkeypatch.setattr(torch.nn.Module, "__call__", counted)
    first = score(table, **given)
    # 4 distinct texts make 12 pairs, 3 make 6, long ones first: one batch; and one of 7 texts.
    assert calls.count("BertForSequenceClassification") == 1
    assert calls.count("BertModel") == 1 + 1  # the classifier's own, and the encoder
    calls.clear()
    second = score(table, **given)
    assert calls == []
    assert first.table.equals(second.table) or first.table.to_pylist() == second.table.to_pylist()


def test_what_is_missing_is_named(
    table: Generations, nli_folder: Path, encoder_folder: Path, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="'luq' needs an NLI model: set nli to its folder"):
        score(table, metrics=("luq",))
    with pytest.raises(InputError, match="'eigenscore' needs an embedding model: set embedder to"):
        score(table, metrics=("eigenscore",), nli=str(nli_folder))
    with pytest.raises(InputError, match="nli: an NLI model is given, but none of the metrics"):
        score(table, metrics=("predictive_entropy",), nli=str(nli_folder))
    bare = Generations(table.table.select(["prompt_id", "response"]))
    with pytest.raises(InputError, match="'sentence_sar_nli' needs the column 'logprob'"):
        score(bare, metrics=("sentence_sar_nli",), nli=str(nli_folder))
    added = score(bare, metrics=("all",), nli=str(nli_folder), model_cache=str(tmp_path))
    assert "luq" in added
    assert "semantic_density_complement" not in added
    with pytest.raises(InputError, match="there is no column 'question'"):
        score(
            table,
            metrics=("luq",),
            nli=str(nli_folder),
            nli_question="question",
            model_cache=str(tmp_path),
        )
    with pytest.raises(InputError, match="column 'response' must be text"):
        score(
            table,
            metrics=("luq",),
            nli=str(nli_folder),
            nli_question="response",
            model_cache=str(tmp_path),
        )


def test_the_command_line(
    table: Generations,
    nli_folder: Path,
    encoder_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    references = pa.array(["3", "0", "1", None])
    source = tmp_path / "samples.parquet"
    write_parquet(table.with_columns({"reference": references}).table, source)
    target = tmp_path / "scores.parquet"

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["statllm", "score", str(source), "-o", str(target)])
        sys.argv += map(str, arguments)
        with pytest.raises(SystemExit) as stopped:
            main()
        said = capsys.readouterr()
        return int(stopped.value.code or 0), said.out, said.err

    cache = tmp_path / "cache"
    code, _, error = run(
        *("--metrics", "all", "--nli", nli_folder, "--embedder", encoder_folder),
        *("--model-cache", cache, "--nli-question", "prompt"),
    )
    assert code == 0, error
    scored = Generations.read(target)
    assert set(scored.table.column_names) >= NLI | EMBEDDING
    assert sorted(file.name.split("-")[0] for file in cache.iterdir()) == ["embedding", "nli"]
    code, _, error = run("--metrics", "semantic_entropy_nli")
    assert code == 2
    assert "metric 'semantic_entropy_nli' needs an NLI model: set nli to its folder" in error
    code, _, error = run("--metrics", "luq", "--nli", tmp_path / "nowhere", "--model-cache", cache)
    assert code == 2
    assert "nowhere does not exist" in error
