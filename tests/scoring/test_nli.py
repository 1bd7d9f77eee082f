"""NLI over a table: the truth of a small world, each pair once, whatever the batches."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from statllm.errors import InputError
from statllm.estimators import luq, nli_relation, nli_similarity, semantic_clusters
from statllm.estimators.semantic.clusters import MNLI_ORDER
from statllm.scoring import _encoders
from statllm.scoring.nli import nli_logits

TEXTS = [
    ["it is 3", "three", "3", "no idea", "it is 4", "3"],
    [],
    ["i do not know", "no idea"],
    ["four", "zero", "it is four", "0"],
    ["one"],
]


def truth(world: SimpleNamespace, texts: list[str]) -> np.ndarray:
    return np.array([[MNLI_ORDER.index(world.relation(a, b)) for b in texts] for a in texts])


def passes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Number of texts of each forward pass from now on."""
    seen: list[int] = []
    forward = _encoders.forward

    def counted(*arguments: Any):
        for places, output, mask in forward(*arguments):
            seen.append(len(places))
            yield places, output, mask

    monkeypatch.setattr("statllm.scoring.nli.forward", counted)
    return seen


def refuse_to_load(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(*_: Any, **__: Any) -> None:
        raise AssertionError("the model was loaded")

    monkeypatch.setattr("statllm.scoring.nli.load_encoder", load)


def test_clusters_are_the_truth(world: SimpleNamespace, nli_folder: Path, tmp_path: Path) -> None:
    everything = list(world.meaning)
    nli = nli_logits([everything, *TEXTS], nli_folder, cache=tmp_path)
    np.testing.assert_array_equal(nli.block(0).argmax(axis=-1), truth(world, everything))
    for rule in ("strict", "lorenzkuhn", "jlko", "uqlm"):
        clusters = semantic_clusters(nli_relation(nli, rule)).to_lists()[1:]
        if rule == "lorenzkuhn":  # a text that says nothing contradicts nobody
            assert clusters == [[0, 0, 0, 0, 0, 0], [], [0, 0], [0, 1, 0, 1], [0]]
        else:
            assert clusters == [[0, 0, 0, 1, 2, 0], [], [0, 0], [0, 1, 0, 1], [0]]
    contradiction, entailment = (nli.with_values(nli.values[:, c]) for c in (0, 2))
    assert luq(entailment, contradiction)[3] < 0.05  # kept below: two right ways of saying it


def test_the_numbers_are_those_of_the_model_alone(
    world: SimpleNamespace, nli_folder: Path, tmp_path: Path
) -> None:
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(nli_folder)
    model = AutoModelForSequenceClassification.from_pretrained(nli_folder)
    model.train(False)
    for budget in (1, 40, 8192):
        nli = nli_logits(TEXTS, nli_folder, cache=tmp_path / str(budget), batch_tokens=budget)
        for row, texts in enumerate(TEXTS):
            for i, premise in enumerate(texts):
                for j, hypothesis in enumerate(texts):
                    found = nli.block(row)[i, j]
                    if premise == hypothesis:
                        assert found.tolist() == [-np.inf, -np.inf, 0.0]
                        continue
                    with torch.no_grad():
                        inputs = tokenizer(premise, hypothesis, return_tensors="pt")
                        logits = model(**inputs).logits[0].numpy()
                    order = [world.classes.index(name) for name in MNLI_ORDER]
                    np.testing.assert_allclose(found, logits[order], atol=1e-5)
    same = nli_similarity(nli, "entailment", logits=True)
    assert same.block(0)[2, 5] == 1.0  # "3" and "3"


def test_each_pair_goes_through_once(
    nli_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = passes(monkeypatch)
    texts = [["1", "one", "1", "1"], ["one", "1"], ["2"], ["two", "two"]]
    first = nli_logits(texts, nli_folder, cache=tmp_path)
    assert sum(seen) == 2  # ("1", "one") and ("one", "1")
    nli_logits([*texts, ["one", "1", "two"]], nli_folder, cache=tmp_path)
    assert sum(seen) == 2 + 4
    refuse_to_load(monkeypatch)
    again = nli_logits(texts, nli_folder, cache=tmp_path)
    assert sum(seen) == 6
    np.testing.assert_array_equal(first.values, again.values)


def test_a_run_that_breaks_off_goes_on_where_it_was(
    nli_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = nli_logits(TEXTS, nli_folder, cache=tmp_path / "whole", batch_tokens=40)
    forward = _encoders.forward

    def breaks(*arguments: Any):
        for number, part in enumerate(forward(*arguments)):
            if number == 3:
                raise KeyboardInterrupt
            yield part

    with monkeypatch.context() as patch:
        patch.setattr("statllm.scoring.nli.forward", breaks)
        with pytest.raises(KeyboardInterrupt):
            nli_logits(TEXTS, nli_folder, cache=tmp_path, batch_tokens=40)
    seen = passes(monkeypatch)
    resumed = nli_logits(TEXTS, nli_folder, cache=tmp_path, batch_tokens=40)
    asked = sum(len(set(texts)) * (len(set(texts)) - 1) for texts in TEXTS)
    assert 0 < sum(seen) < asked
    np.testing.assert_allclose(resumed.values, whole.values, atol=1e-5)


def test_order_of_samples_and_prompts(nli_folder: Path, tmp_path: Path) -> None:
    nli = nli_logits(TEXTS, nli_folder, cache=tmp_path / "a")
    order = [2, 5, 0, 3, 1, 4]
    shuffled = [TEXTS[3], [TEXTS[0][i] for i in order]]
    again = nli_logits(pa.array(shuffled), nli_folder, cache=tmp_path / "b")
    np.testing.assert_allclose(again.block(1), nli.block(0)[np.ix_(order, order)], atol=1e-5)
    np.testing.assert_allclose(again.block(0), nli.block(3), atol=1e-5)


def test_questions_come_first(
    nli_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []
    forward = _encoders.forward

    def noted(encoder: Any, texts: Any, *rest: Any):
        asked.extend(zip(*texts, strict=True))
        return forward(encoder, texts, *rest)

    monkeypatch.setattr("statllm.scoring.nli.forward", noted)
    texts = [["1", "one", "1"], ["1", "one"]]
    nli_logits(texts, nli_folder, questions=["what is x", "what"], cache=tmp_path)
    assert sorted(asked) == [
        ("what 1", "what one"),
        ("what is x 1", "what is x one"),
        ("what is x one", "what is x 1"),
        ("what one", "what 1"),
    ]
    with pytest.raises(InputError, match="1 questions for 2 prompts"):
        nli_logits(texts, nli_folder, questions=["what"], cache=tmp_path)
    with pytest.raises(InputError, match="questions must be strings"):
        nli_logits(texts, nli_folder, questions=["what", None], cache=tmp_path)  # type: ignore[list-item]


def renamed(folder: Path, target: Path, names: list[str]) -> Path:
    shutil.copytree(folder, target)
    config = json.loads((target / "config.json").read_text())
    config["id2label"] = dict(enumerate(names))
    config["label2id"] = {name: i for i, name in enumerate(names)}
    (target / "config.json").write_text(json.dumps(config))
    return target


def test_the_order_of_the_classes(world: SimpleNamespace, nli_folder: Path, tmp_path: Path) -> None:
    expected = nli_logits(TEXTS, nli_folder, cache=tmp_path / "cache").values
    upper = renamed(nli_folder, tmp_path / "upper", [name.upper() for name in world.classes])
    np.testing.assert_array_equal(nli_logits(TEXTS, upper, cache=tmp_path).values, expected)
    dumb = renamed(nli_folder, tmp_path / "dumb", ["LABEL_0", "LABEL_1", "LABEL_2"])
    with pytest.raises(InputError, match="doesn't say which .* LABEL_0, LABEL_1, LABEL_2; give"):
        nli_logits(TEXTS, dumb, cache=tmp_path)
    told = nli_logits(TEXTS, dumb, classes=world.classes, cache=tmp_path)
    np.testing.assert_array_equal(told.values, expected)
    with pytest.raises(InputError, match="classes must be contradiction, neutral, entailment"):
        nli_logits(TEXTS, dumb, classes=["yes", "no", "perhaps"], cache=tmp_path)
    two = renamed(nli_folder, tmp_path / "two", ["entailment", "not_entailment"])
    with pytest.raises(InputError, match="its classes are entailment, not_entailment"):
        nli_logits(TEXTS, two, cache=tmp_path)
    with pytest.raises(InputError, match="has 2 classes, not three"):
        nli_logits(TEXTS, two, classes=world.classes, cache=tmp_path)


def test_bad_input(
    world: SimpleNamespace, nli_folder: Path, encoder_folder: Path, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="1 texts are missing, the first in row 1"):
        nli_logits([["1"], ["2", None]], nli_folder, cache=tmp_path)
    with pytest.raises(InputError, match="texts must be strings, not int64"):
        nli_logits([[1, 2]], nli_folder, cache=tmp_path)
    with pytest.raises(InputError, match="does not exist"):
        nli_logits(TEXTS, tmp_path / "nowhere", cache=tmp_path)
    headless = renamed(encoder_folder, tmp_path / "headless", list(world.classes))
    with pytest.raises(InputError, match="is not a sequence classifier: its weights lack classif"):
        nli_logits(TEXTS, headless, cache=tmp_path)
    assert nli_logits([], nli_folder, cache=tmp_path).values.shape == (0, 3)
    with pytest.raises(InputError, match="is damaged"):
        [file] = tmp_path.glob("nli-nli-*.sqlite")
        file.write_bytes(b"no database" * 1000)
        nli_logits(TEXTS, nli_folder, cache=tmp_path)


def test_long_texts(nli_folder: Path, tmp_path: Path) -> None:
    texts = [["it is 3 " * 8, "3"]]
    with pytest.raises(InputError, match="reads 24 tokens, and a text has 28: .*long_texts='cut'"):
        nli_logits(texts, nli_folder, cache=tmp_path)
    cut = nli_logits(texts, nli_folder, cache=tmp_path, long_texts="cut").block(0)
    assert np.isfinite(cut[0, 1]).all()
    with pytest.raises(InputError, match="a text has 28"):  # what was cut isn't taken for whole
        nli_logits(texts, nli_folder, cache=tmp_path)


def test_numbers_that_are_not_finite_stay_out(nli_folder: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    broken = tmp_path / "broken"
    shutil.copytree(nli_folder, broken)
    weights = load_file(broken / "model.safetensors")
    weights["classifier.bias"][0] = float("nan")
    save_file(weights, broken / "model.safetensors", metadata={"format": "pt"})
    for _ in range(2):
        with pytest.raises(InputError, match="gives numbers that aren't finite"):
            nli_logits(TEXTS, broken, cache=tmp_path)
