"""`statllm contamination` with a model that really was trained on a file, in its order."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from typer.testing import CliRunner, Result

from statllm.cli.contamination import contamination
from statllm.errors import InputError
from statllm.estimators.contamination import (
    exchangeability_test,
    membership,
    membership_test,
    min_k_plus_plus,
    shard_ranks,
)
from statllm.estimators.privacy import tpr_at_fpr
from statllm.lab import model_path, problems
from statllm.models import load_model, load_tokenizer
from statllm.results import format_p
from statllm.scoring.ordered_rows import shard_log_p
from statllm.scoring.token_laws import encoded, token_laws

N_TRAINED = 30


def statllm(*arguments: object) -> Result:
    """Run a command; an error of the input is raised as it is."""
    result = CliRunner().invoke(
        contamination, [str(a) for a in arguments], env={"COLUMNS": "400"}, catch_exceptions=False
    )
    assert result.exit_code == 0, result.output
    return result


def write(path: Path, texts: list[str], **columns: list[object]) -> Path:
    rows = [
        dict(zip(("text", *columns), row, strict=True))
        for row in zip(texts, *columns.values(), strict=True)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture(scope="module")
def texts() -> list[str]:
    return [text.strip() for text in problems("test", 220, 7)["prompt"].to_pylist()]


@pytest.fixture(scope="module")
def trained(texts: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The lab's model after some 60 more epochs on the first texts, one after the other."""
    torch.manual_seed(0)
    tokenizer, model = load_tokenizer(model_path()), load_model(model_path(), device="cpu")
    stream = torch.tensor([0, *encoded(tokenizer, ["\n".join(texts[:N_TRAINED])]).values])
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    rng = np.random.default_rng(0)
    model.train()
    for _ in range(80):
        starts = rng.integers(0, len(stream) - 160, 5)
        batch = torch.stack([stream[start : start + 160] for start in starts])
        optimizer.zero_grad()
        model(input_ids=batch, labels=batch).loss.backward()
        optimizer.step()
    folder = tmp_path_factory.mktemp("trained")
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.mark.slow
def test_the_published_order_is_found_and_a_shuffled_one_is_not(
    trained: Path, texts: list[str], tmp_path: Path
) -> None:
    rng = np.random.default_rng(2)
    rows = texts[:N_TRAINED]
    data = write(tmp_path / "data.jsonl", rows)
    shuffled = write(tmp_path / "shuffled.jsonl", [rows[i] for i in rng.permutation(N_TRAINED)])
    options = ("--shards", 6, "--permutations", 29, "--seed", 1)
    p = []
    for name, model in ((data, trained), (shuffled, trained), (data, "lab")):
        out = tmp_path / "shards.parquet"
        said = statllm("exchangeability", model, name, *options, "-o", out)
        assert "canonical order carries no information" in said.output
        table = pd.read_parquet(out)
        assert table["rank"].between(1, 30).all()
        # the ranks are the test: canonical order before `30 - rank` permutations
        permuted = np.where(np.arange(29) < table["rank"].to_numpy()[:, None] - 1, 1.0, -1.0)
        p.append(exchangeability_test(np.zeros(6), permuted).p_value)
    assert p[0] < 1e-5
    assert min(p[1:]) > 0.02


@pytest.mark.slow
def test_membership_finds_what_was_trained_on(
    trained: Path, texts: list[str], tmp_path: Path
) -> None:
    suspects = texts[:N_TRAINED] + texts[200:220]
    domains = [["a", "b"][i % 2] for i in range(len(suspects))]
    suspect = write(tmp_path / "suspect.jsonl", suspects, domain=domains)
    known = texts[N_TRAINED:200]
    reference = write(
        tmp_path / "new.jsonl", known, domain=[["a", "b"][i % 2] for i in range(len(known))]
    )
    out = tmp_path / "scores.parquet"
    said = statllm(
        "membership", trained, suspect, "--reference", reference, "-o", out, "--group", "domain",
        "--length-bins", 2, "--fdr", 0.1,
    )  # fmt: skip
    table = pd.read_parquet(out)
    assert table.columns.tolist() == [
        "row", "group", "n_tokens", "score", "p", "q", "n_reference", "member",
    ]  # fmt: skip
    assert set(table["group"]) == {f"{d}, length {b}" for d in "ab" for b in (1, 2)}
    assert (table["member"] == (table["q"] <= 0.1)).all()
    assert table["member"][:N_TRAINED].mean() > 0.4
    assert table["member"][N_TRAINED:].mean() <= 0.2
    assert table["p"][N_TRAINED:].mean() > 0.3
    assert f"called members at a false discovery rate of 0.1  {table['member'].sum()}" in (
        " ".join(said.output.split()).replace("0.1 ", "0.1  ")
    )
    rate = tpr_at_fpr(table["score"][:N_TRAINED], table["score"][N_TRAINED:], 0.05)
    assert rate.tpr.value > 0.5
    # without groups, the p-values are those of the scores alone
    both = {}
    for name, path in (("suspect", suspect), ("known", reference)):
        statllm("membership", trained, path, "--reference", reference, "-o", out, "--score", "loss")
        both[name] = pd.read_parquet(out)
    expected = membership(both["suspect"]["score"], both["known"]["score"])
    assert both["suspect"]["p"].to_numpy() == pytest.approx(expected.p_values)
    assert both["suspect"]["q"].to_numpy() == pytest.approx(expected.q_values)
    assert membership_test(both["suspect"]["score"], both["known"]["score"]).p_value < 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("score", ["min-k", "zlib", "curvature", "reference"])
def test_other_scores_find_it_too(
    trained: Path, texts: list[str], tmp_path: Path, score: str
) -> None:
    suspect = write(tmp_path / "suspect.jsonl", texts[:N_TRAINED])
    reference = write(tmp_path / "new.jsonl", texts[N_TRAINED:160])
    more = ("--reference-model", "lab") if score == "reference" else ()
    out = tmp_path / "scores.jsonl"
    statllm(
        "membership", trained, suspect, "--reference", reference, "-o", out, "--score", score, *more
    )
    table = pd.read_json(out, lines=True)
    assert table["p"].median() < 0.1


@pytest.mark.slow
def test_data_set_inference(trained: Path, texts: list[str], tmp_path: Path) -> None:
    suspect = write(tmp_path / "suspect.jsonl", texts[:N_TRAINED])
    reference = write(tmp_path / "new.jsonl", texts[N_TRAINED:140])
    other = write(tmp_path / "other.jsonl", texts[140:220])
    p = []
    for path in (suspect, other):
        out = tmp_path / "test.csv"
        statllm(
            "dataset-inference", trained, path, "--reference", reference, "--splits", 5, "-o", out
        )
        row = pd.read_csv(out).iloc[0]
        assert row["method"] == "data-set inference, t, 5 splits by twice-median"
        p.append(row["p_value"])
    assert p[0] < 1e-4
    assert p[1] > 0.02
    one = statllm("dataset-inference", trained, suspect, "--reference", reference).output
    assert "scores combined" in one


def test_commands_write_what_the_estimators_say(texts: list[str], tmp_path: Path) -> None:
    tokenizer, model = load_tokenizer(model_path()), load_model(model_path(), device="cpu")
    rows, other = texts[:12], [" ".join(reversed(text.split())) for text in texts[20:50]]
    data, reference = write(tmp_path / "a.jsonl", rows), write(tmp_path / "b.jsonl", other)

    shards = tmp_path / "shards.parquet"
    statllm(
        "exchangeability", "lab", data, "--shards", 3, "--permutations", 4, "--seed", 5,
        "--method", "fisher", "-o", shards,
    )  # fmt: skip
    tokens, end = encoded(tokenizer, rows), encoded(tokenizer, ["\n"]).values.tolist()
    own, permuted = shard_log_p(model, tokens, 3, 4, seed=5, start=0, separator=end)
    table = pd.read_parquet(shards)
    assert table["log_p"].to_numpy() == pytest.approx(own, abs=1e-3)
    assert table["mean_log_p_permuted"].to_numpy() == pytest.approx(permuted.mean(axis=1), abs=1e-3)
    assert table["rank"].tolist() == shard_ranks(own, permuted, tolerance=1e-3).tolist()

    scores = tmp_path / "scores.parquet"
    said = statllm("membership", "lab", data, "--reference", reference, "-o", scores)
    laws, known = (token_laws(model, encoded(tokenizer, each), start=0) for each in (rows, other))
    z, z_known = (min_k_plus_plus(law.log_p, law.mean, law.sd) for law in (laws, known))
    table = pd.read_parquet(scores)
    assert table["score"].to_numpy() == pytest.approx(z, abs=1e-3)
    assert table["p"].to_numpy() == pytest.approx(membership(z, z_known).p_values)
    p = membership_test(z, z_known).log_p_value
    assert p < -10  # plain words against shuffled ones: not membership, which it can't know
    assert f"p {format_p(p)}" in said.output

    test = tmp_path / "test.jsonl"
    statllm("dataset-inference", "lab", data, "--reference", reference, "--seed", 3, "-o", test)
    row = pd.read_json(test, lines=True).iloc[0]
    assert row["n_effective"] == 6 + 15
    assert row["p_value"] < 0.01


def test_texts_without_tokens_have_no_p_value(texts: list[str], tmp_path: Path) -> None:
    suspect = write(tmp_path / "suspect.jsonl", ["", *texts[:4]])
    reference = write(tmp_path / "new.jsonl", ["", *texts[10:30]])
    out = tmp_path / "scores.parquet"
    statllm("membership", "lab", suspect, "--reference", reference, "-o", out)
    table = pd.read_parquet(out)
    assert np.isnan(table["p"][0])
    assert not table["member"][0]
    assert table["n_reference"].eq(20).all()


def test_errors_name_file_and_column(texts: list[str], tmp_path: Path) -> None:
    good = write(tmp_path / "good.jsonl", texts[:6])
    bad = tmp_path / "bad.jsonl"
    bad.write_text('{"text": "a b"}\n{"text": null}\n')
    numbers = tmp_path / "numbers.jsonl"
    numbers.write_text('{"text": 3}\n')
    empty = write(tmp_path / "empty.jsonl", ["", ""])
    out = tmp_path / "out.parquet"
    wrong: list[tuple[tuple[object, ...], str]] = [
        (("exchangeability", "lab", good, "--text", "body"), "good.jsonl has no column 'body'"),
        (("exchangeability", "lab", bad), "bad.jsonl: column 'text' is null in row 1"),
        (("exchangeability", "lab", numbers), "numbers.jsonl: column 'text' is int in row 0"),
        (("exchangeability", "lab", good), "good.jsonl: 6 rows make 3 shards of two rows at most"),
        (("exchangeability", "lab", good, "-o", tmp_path), "is a folder"),
        (("membership", "lab", good, "--reference", good, "--group", "kind"), "no column 'kind'"),
        (("membership", "lab", good, "--reference", empty), "empty.jsonl: no text has a token"),
        (("membership", "lab", good, "--reference", good, "--score", "reference"), "need each"),
        (("membership", "lab", good, "--reference", good, "--fdr", 2), "--fdr"),
        (("membership", "lab", good, "--reference", good, "--ratio", 0), "--ratio"),
        (("dataset-inference", "lab", write(tmp_path / "one.jsonl", texts[:1]), "--reference",
          good, "-o", out), "suspect has 1 rows"),
        (("dataset-inference", tmp_path / "none", good, "--reference", good), "does not exist"),
    ]  # fmt: skip
    for arguments, message in wrong:
        with pytest.raises(InputError, match=message):
            statllm(*arguments)
    assert not out.exists()
