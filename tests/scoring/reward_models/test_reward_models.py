"""Rewards of three kinds of heads, against plain torch on one text at a time; cache and batches."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from safetensors.torch import load_file, save_file

from statllm.errors import InputError
from statllm.generations import Generations
from statllm.scoring.reward_models import RewardModel, add_rewards
from statllm.scoring.reward_models import decoder as module

LINES = ["What is 3 + 4?", "And 10 + 10, dear?", "Hi"]
CHATS = [
    [{"role": "user", "content": LINES[0]}],
    [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "content": "Hello. What is it?"},
        {"role": "user", "content": LINES[1]},
    ],
    [{"role": "user", "content": LINES[2]}],
]
RESPONSES = ["It is 7.", "I think that it may be 20, but I am not quite sure of it.", "?"]


def conversation(prompt: list[dict[str, str]], response: str) -> str:
    """Llama 3's layout, written out."""
    turns = [*prompt, {"role": "assistant", "content": response}]
    body = "".join(
        f"<|start_header_id|>{turn['role']}<|end_header_id|>\n\n{turn['content']}<|eot_id|>"
        for turn in turns
    )
    return f"<|begin_of_text|>{body}"


def hidden_states(folder: Path, text: str) -> tuple[list[int], torch.Tensor]:
    """Tokens of a text and their last hidden states, from a model with the weights put in."""
    from transformers import AutoTokenizer, LlamaConfig, LlamaModel

    ids = AutoTokenizer.from_pretrained(folder)(text, add_special_tokens=False)["input_ids"]
    model = LlamaModel(LlamaConfig.from_pretrained(folder)).eval()
    weights = load_file(folder / "model.safetensors")
    own = {k.removeprefix("model."): v for k, v in weights.items() if k.startswith("model.")}
    model.load_state_dict(own)
    with torch.no_grad():
        return ids, model(torch.tensor([ids])).last_hidden_state[0]


def by_hand_armorm(folder: Path, text: str) -> tuple[float, np.ndarray]:
    """Score and objectives as the published model has them, one text, in numpy."""
    ids, hidden = hidden_states(folder, text)
    states = hidden.double().numpy()
    weight = {k: v.double().numpy() for k, v in load_file(folder / "model.safetensors").items()}
    # The last place where the end of a turn and the assistant's header follow each other.
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    pattern = tokenizer(
        "<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n", add_special_tokens=False
    )["input_ids"]
    n = len(pattern)
    place = max(i for i in range(len(ids) - n + 1) if ids[i : i + n] == pattern)
    x = states[place]
    for i in range(4):
        x = weight[f"gating.layers.{i}.weight"] @ x + weight[f"gating.layers.{i}.bias"]
        x = np.maximum(x, 0) if i < 3 else x
    gate = np.exp(x / 5 - (x / 5).max())
    gate *= 0.7 / gate.sum()
    objectives = weight["regression_layer.weight"] @ states[-1]
    return float(gate @ (objectives @ weight["reward_transform_matrix"])), objectives


def test_classifier_is_that_of_transformers(classifier: Path, tmp_path: Path) -> None:
    from transformers import AutoTokenizer, LlamaForSequenceClassification

    model = LlamaForSequenceClassification.from_pretrained(classifier).eval()
    tokenizer = AutoTokenizer.from_pretrained(classifier)
    expected = []
    for prompt, response in zip(CHATS, RESPONSES, strict=True):
        ids = tokenizer(conversation(prompt, response), add_special_tokens=False)["input_ids"]
        with torch.no_grad():
            expected.append(model(torch.tensor([ids])).logits.item())
    found = RewardModel(classifier, cache=tmp_path).score(CHATS, RESPONSES)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    assert np.ptp(found) > 0.1


def test_strings_are_put_before_the_response_and_ended(classifier: Path, tmp_path: Path) -> None:
    weight = load_file(classifier / "model.safetensors")["score.weight"]
    _, hidden = hidden_states(classifier, "What is 3 + 4? 7<|end_of_text|>")
    model = RewardModel(classifier, cache=tmp_path)
    assert model.score(["What is 3 + 4?"], [" 7"]) == pytest.approx(
        (weight @ hidden[-1]).item(), rel=1e-5
    )
    chat = RewardModel(classifier, cache=tmp_path, chat=True)
    same = chat.score([LINES[0], CHATS[0]], [RESPONSES[0]] * 2)
    assert same[0] == same[1]
    np.testing.assert_allclose(same[0], model.score(CHATS[:1], RESPONSES[:1])[0], rtol=1e-5)


def test_where_padding_ends_texts_the_token_is_that_of_transformers(
    classifier: Path, tmp_path: Path
) -> None:
    """A classifier whose padding token is its end token never looks at the end."""
    from transformers import LlamaForSequenceClassification

    folder = shutil.copytree(classifier, tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "pad_token_id": 2}))
    model = LlamaForSequenceClassification.from_pretrained(folder).eval()
    ids, _ = hidden_states(folder, "Hi 7<|end_of_text|>")
    with torch.no_grad():
        expected = model(torch.tensor([ids])).logits.item()
    found = RewardModel(folder, cache=tmp_path).score(["Hi", "Hi"], [" 7", " 7, or was it 8?"])
    assert found[0] == pytest.approx(expected, rel=1e-5)
    ends = RewardModel(classifier, cache=tmp_path).score(["Hi"], [" 7"])
    assert abs(found[0] - ends[0]) > 1e-3


def test_athene_reads_a_cls_token_behind_the_conversation(athene: Path, tmp_path: Path) -> None:
    weight = load_file(athene / "model.safetensors")["v_head.weight"]
    expected = []
    for prompt, response in zip(CHATS, RESPONSES, strict=True):
        ids, hidden = hidden_states(athene, conversation(prompt, response) + "<cls>")
        place = max(i for i, token in enumerate(ids) if token == 6)
        expected.append((weight @ hidden[place]).item())
    found = RewardModel(athene, cache=tmp_path).score(CHATS, RESPONSES)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_armorm_gates_its_objectives_by_the_prompt(armorm: Path, tmp_path: Path) -> None:
    found = RewardModel(armorm, cache=tmp_path).outputs(CHATS, RESPONSES)
    assert found.objectives.shape == (3, 19)
    for i, (prompt, response) in enumerate(zip(CHATS, RESPONSES, strict=True)):
        score, objectives = by_hand_armorm(armorm, conversation(prompt, response))
        assert found.reward[i] == pytest.approx(score, rel=1e-4, abs=1e-5)
        np.testing.assert_allclose(found.objectives[i], objectives, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", ["classifier", "athene", "armorm"])
def test_batches_padding_and_company_change_nothing(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    folder = request.getfixturevalue(kind)
    rng = np.random.default_rng(0)
    chats = [CHATS[i] for i in rng.integers(0, 3, 40)]
    texts = ["x" * int(n) + f" {i}" for i, n in enumerate(rng.integers(0, 40, 40))]
    alone = [
        RewardModel(folder, cache=tmp_path / f"{i}").score([chat], [text])[0]
        for i, (chat, text) in enumerate(zip(chats[:5], texts[:5], strict=True))
    ]
    many = RewardModel(folder, cache=tmp_path / "many", token_budget=1000).score(chats, texts)
    single = RewardModel(folder, cache=tmp_path / "single", token_budget=1).score(chats, texts)
    np.testing.assert_allclose(many, single, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(many[:5], alone, rtol=1e-4, atol=1e-5)
    left = shutil.copytree(folder, tmp_path / "left")
    about = json.loads((left / "tokenizer_config.json").read_text())
    (left / "tokenizer_config.json").write_text(json.dumps({**about, "padding_side": "left"}))
    other = RewardModel(left, cache=tmp_path / "left_cache", token_budget=1000).score(chats, texts)
    np.testing.assert_allclose(many, other, rtol=1e-4, atol=1e-5)


def test_left_padded_transformers_agrees(classifier: Path, tmp_path: Path) -> None:
    from transformers import AutoTokenizer, LlamaForSequenceClassification

    model = LlamaForSequenceClassification.from_pretrained(classifier).eval()
    tokenizer = AutoTokenizer.from_pretrained(classifier, padding_side="left")
    texts = [conversation(p, r) for p, r in zip(CHATS, RESPONSES, strict=True)]
    batch = tokenizer(texts, padding=True, return_tensors="pt", add_special_tokens=False)
    positions = (batch["attention_mask"].cumsum(1) - 1).clamp(min=0)
    with torch.no_grad():
        expected = model(**batch, position_ids=positions).logits[:, 0].numpy()
    found = RewardModel(classifier, cache=tmp_path).score(CHATS, RESPONSES)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_batches_keep_to_the_budget_longest_first(
    classifier: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shapes: list[tuple[int, int]] = []
    forward = module.reward_outputs

    def watched(model: Any, head: Any, texts: Any) -> Any:
        shapes.append((len(texts), max(len(text.ids) for text in texts)))
        return forward(model, head, texts)

    monkeypatch.setattr(module, "reward_outputs", watched)
    texts = ["y" * n for n in range(1, 60)]
    RewardModel(classifier, cache=tmp_path, token_budget=200).score(["Hi"] * 59, texts)
    assert sum(n for n, _ in shapes) == 59
    assert all(n * longest <= 200 for n, longest in shapes)
    assert len(shapes) < 25
    longest = [length for _, length in shapes]
    assert longest == sorted(longest, reverse=True)


def test_no_text_goes_through_the_model_twice(
    classifier: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    forward = module.reward_outputs

    def watched(model: Any, head: Any, texts: Any) -> Any:
        if sum(seen) + len(texts) > stop:
            raise KeyboardInterrupt
        seen.append(len(texts))
        return forward(model, head, texts)

    monkeypatch.setattr(module, "reward_outputs", watched)
    texts = [str(i % 20) for i in range(40)]
    stop = 12
    model = RewardModel(classifier, cache=tmp_path, token_budget=10)
    with pytest.raises(KeyboardInterrupt):
        model.score(["Hi"] * 40, texts)
    assert sum(seen) == 12
    stop = 1000
    first = model.score(["Hi"] * 40, texts)
    assert sum(seen) == 20  # twelve were kept, eight were left
    again = RewardModel(classifier, cache=tmp_path, token_budget=500).score(["Hi"] * 40, texts)
    assert sum(seen) == 20
    np.testing.assert_array_equal(first, again)
    np.testing.assert_array_equal(first[:20], first[20:])
    model.score([[{"role": "user", "content": "Hi"}]], texts[:1])  # a chat is another text
    assert sum(seen) == 21
    changed = shutil.copytree(classifier, tmp_path / "changed")
    weights = load_file(changed / "model.safetensors")
    weights["score.weight"] *= 2
    save_file(weights, changed / "model.safetensors", metadata={"format": "pt"})
    doubled = RewardModel(changed, cache=tmp_path).score(["Hi"] * 40, texts)
    np.testing.assert_allclose(doubled, 2 * first, rtol=1e-4)


def test_features_are_what_the_reward_is_linear_in(classifier: Path, tmp_path: Path) -> None:
    model = RewardModel(classifier, cache=tmp_path)
    found = model.outputs(CHATS, RESPONSES, features=True)
    assert found.features.shape == (3, 24)
    np.testing.assert_allclose(found.features @ model.head_weights, found.reward, rtol=1e-4)
    np.testing.assert_allclose(found.reward, model.score(CHATS, RESPONSES), rtol=1e-5)


def test_sharded_weights(armorm: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(armorm, tmp_path / "shards")
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names = sorted(weights)
    parts = {"a.safetensors": names[::2], "b.safetensors": names[1::2]}
    for file, keys in parts.items():
        save_file({k: weights[k] for k in keys}, folder / file, metadata={"format": "pt"})
    index = {"metadata": {}, "weight_map": {k: f for f, keys in parts.items() for k in keys}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    a = RewardModel(folder, cache=tmp_path).score(CHATS, RESPONSES)
    b = RewardModel(armorm, cache=tmp_path).score(CHATS, RESPONSES)
    np.testing.assert_allclose(a, b, rtol=1e-6)


def test_texts_that_are_too_long(classifier: Path, tmp_path: Path) -> None:
    texts = ["yes", "é" * 300]
    with pytest.raises(InputError, match=r"reads 512 tokens, and a prompt with .* has 60\d"):
        RewardModel(classifier, cache=tmp_path).score(["Hi", "Hi"], texts)
    model = RewardModel(classifier, cache=tmp_path, too_long="null")
    for _ in range(2):  # also from the cache
        assert np.isnan(model.score(["Hi", "Hi"], texts)).tolist() == [False, True]


def test_a_recipe_leaves_them_to_its_rule(classifier: Path, tmp_path: Path) -> None:
    """One of 40,000 responses must not stop a run for which no key says what to do about it."""
    from statllm.recipe import Rewards
    from statllm.stages.reward import rated

    said = {"prompt_id": ["a"], "prompt": ["Hi"], "response": [["yes", "é" * 300]]}
    found = rated(Generations(pa.table(said)), Rewards(model=str(classifier)), None, tmp_path)
    assert np.isnan(found.ragged("reward").values).tolist() == [False, True]


def test_models_that_are_none(classifier: Path, athene: Path, armorm: Path, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    from statllm.lab import model_path

    with pytest.raises(InputError, match=r"is not a reward model: its weights have none of"):
        RewardModel(model_path(), cache=tmp_path).score(["a"], ["b"])
    folder = shutil.copytree(armorm, tmp_path / "armorm")
    weights = load_file(folder / "model.safetensors")
    strange = {**weights, "gating.layers.2.running_mean": torch.zeros(3)}
    save_file(strange, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InputError, match=r"'gating.layers.2.running_mean' is unknown"):
        RewardModel(folder, cache=tmp_path).score(CHATS, RESPONSES)
    del weights["model.norm.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InputError, match=r"its weights lack norm.weight"):
        RewardModel(folder, cache=tmp_path).score(CHATS, RESPONSES)
    folder = shutil.copytree(classifier, tmp_path / "two")
    weights = load_file(folder / "model.safetensors")
    weights["score.weight"] = weights["score.weight"].repeat(2, 1)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InputError, match=r"'score.weight' has 2 outputs"):
        RewardModel(folder, cache=tmp_path).score(CHATS, RESPONSES)
    folder = shutil.copytree(athene, tmp_path / "plain")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.chat_template = None
    (folder / "chat_template.jinja").unlink()
    tokenizer.save_pretrained(folder)
    with pytest.raises(InputError, match="no chat template"):
        RewardModel(folder, cache=tmp_path).score(CHATS, RESPONSES)
    with pytest.raises(InputError, match="isn't linear in features"):
        RewardModel(armorm, cache=tmp_path).outputs(CHATS, RESPONSES, features=True)
    with pytest.raises(InputError, match="dtype 'half precision' is unknown"):
        RewardModel(classifier, cache=tmp_path, dtype="half precision").score(CHATS, RESPONSES)


def test_another_chat_template_is_another_reward(classifier: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(classifier, tmp_path / "model")
    before = RewardModel(folder, cache=tmp_path).score(CHATS, RESPONSES)
    path = folder / "chat_template.jinja"
    path.write_text(path.read_text().replace("| trim", "| upper"))
    after = RewardModel(folder, cache=tmp_path).score(CHATS, RESPONSES)
    assert (np.abs(before - after) > 1e-4).all()


# ---- tables ------------------------------------------------------------------------------------


def table() -> Generations:
    kind = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))
    return Generations(
        pa.table(
            {
                "prompt_id": ["a", "b", "c"],
                "prompt": pa.array(CHATS, kind),
                "response": [["7", "8", "7"], [], ["yes"]],
            }
        )
    )


def test_a_column_of_rewards(classifier: Path, tmp_path: Path) -> None:
    model = RewardModel(classifier, cache=tmp_path)
    rewarded = add_rewards(table(), model)
    found = rewarded.column("reward").to_pylist()
    assert [len(row) for row in found] == [3, 0, 1]
    flat = model.score([CHATS[0]] * 3 + [CHATS[2]], ["7", "8", "7", "yes"])
    assert found[0] + found[2] == flat.tolist()
    assert "reward" not in table()
    named = add_rewards(table(), model, column="skywork")
    assert named.column("skywork").to_pylist() == found
    assert add_rewards(table().take([1]), model).column("reward").to_pylist() == [[]]


def test_ensembles_spread(classifier: Path, other_classifier: Path, tmp_path: Path) -> None:
    models = [RewardModel(f, cache=tmp_path) for f in (classifier, other_classifier)]
    rewarded = add_rewards(table(), models, gap_variance="ensemble")
    members = np.array([m.score([CHATS[0]] * 3, ["7", "8", "7"]) for m in models])
    row = rewarded.table.to_pylist()[0]
    np.testing.assert_allclose(row["reward"], members.mean(0))
    mean = members.mean(0)
    best, worst = mean.argmax(), mean.argmin()
    gaps = members[:, best] - members[:, worst]
    assert row["reward_gap_var"] == pytest.approx(gaps.var(ddof=1), rel=1e-6)
    centred = members - members.mean(1, keepdims=True)
    np.testing.assert_allclose(row["reward_sd"], centred.std(0, ddof=1), rtol=1e-6)
    assert rewarded.column("reward_gap_var").to_pylist()[1:] == [None, None]


def test_objectives_travel_along(armorm: Path, tmp_path: Path) -> None:
    model = RewardModel(armorm, cache=tmp_path)
    rewarded = add_rewards(table(), model, objectives=True)
    found = rewarded.column("reward_objectives").to_pylist()
    assert [len(row) for row in found] == [3, 0, 1]
    np.testing.assert_array_equal(found[2][0], model.outputs([CHATS[2]], ["yes"]).objectives[0])


def test_what_is_refused(classifier: Path, other_classifier: Path, tmp_path: Path) -> None:
    model = RewardModel(classifier, cache=tmp_path)
    with pytest.raises(InputError, match=r"'response' has a null in row 0 \(prompt_id 'a'\)"):
        add_rewards(table().with_columns({"response": [["7", None], [], ["x"]]}), model)
    with pytest.raises(InputError, match=r"'prompt' is neither text nor messages in row 2"):
        add_rewards(table().with_columns({"prompt": ["a", "b", None]}), model)
    with pytest.raises(InputError, match="no column 'response'"):
        add_rewards(Generations(table().table.drop_columns(["response"])), model)
    with pytest.raises(InputError, match=r"has no reward_laplace.safetensors"):
        add_rewards(table(), model, gap_variance="laplace")
    with pytest.raises(InputError, match="two or more different models"):
        add_rewards(table(), [model, model], gap_variance="ensemble")
    with pytest.raises(InputError, match="can't be written to the column 'response'"):
        add_rewards(table(), model, column="response")
    with pytest.raises(InputError, match="no objectives"):
        add_rewards(table(), model, objectives=True)
    both = [model, RewardModel(other_classifier, cache=tmp_path)]
    with pytest.raises(InputError, match="that of one model, not of 2"):
        add_rewards(table(), both, gap_variance="laplace")
