"""The overview: its pages say what was computed, and their own pieces are right."""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pyarrow as pa
import pytest

from statllm.estimators.conformal import conformal_quantile
from statllm.files import read_json
from statllm.lab import careful_solution, generate, model_path

FOLDER = Path(__file__).parents[2] / "studies" / "overview"
NAMES = [path.stem for path in FOLDER.glob("*.py")]


@pytest.fixture(scope="module")
def pages() -> Iterator[dict[str, ModuleType]]:
    """The scripts, imported as they import each other; other modules of these names stay away."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    before = {name: sys.modules.pop(name, None) for name in NAMES}
    sys.path.insert(0, str(FOLDER))
    yield {name: importlib.import_module(name) for name in NAMES}
    torch.set_num_threads(threads)
    sys.path.remove(str(FOLDER))
    for name, module in before.items():
        sys.modules.pop(name, None)
        if module is not None:
            sys.modules[name] = module


# ---- what is in the repository -------------------------------------------------------------------


def test_every_page_is_there_and_is_what_was_computed(pages: dict[str, ModuleType]) -> None:
    study = pages["study"]
    assert set(NAMES) == {*study.PAGES, "common", "study"}
    index = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert index == study.index(FOLDER)
    for stem in study.PAGES:
        text = (FOLDER / f"{stem}.md").read_text(encoding="utf-8")
        found = read_json(FOLDER / f"{stem}.json")
        assert found["finding"] in text
        assert found["finding"] in index
        assert (FOLDER / f"{stem}.png").exists()
        for part in ("question", "formula", "How sure", "In statllm", "Source"):
            assert part in text
        assert "nan" not in re.findall(r"[a-z]+", text)


def test_links_lead_somewhere() -> None:
    for page in FOLDER.glob("*.md"):
        for target in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
            assert target.startswith("http") or (FOLDER / target).exists(), (page.name, target)


def test_runs_in_the_repository_are_full_ones() -> None:
    """Five seeds and more, wherever something was trained."""
    rows = read_json(FOLDER / "preference_collapse.json")["rows"]
    assert {len(row["per_seed"]) for row in rows if row["kind"] == "difference"} == {5}
    assert len(read_json(FOLDER / "synthetic_data.json")["courses"]["own"]) == 5
    assert len(read_json(FOLDER / "privacy.json")["not trained"]["epsilon"]) == 5


# ---- the scripts' own pieces ---------------------------------------------------------------------


def test_log_probabilities_of_responses_are_the_model_s(pages: dict[str, ModuleType]) -> None:
    """The sampled tokens' own log-probabilities, as the sampler has recorded them."""
    scored = pages["common"].lab_samples(4, 2)
    prompts, texts, expected, lengths = [], [], [], []
    for prompt, responses, logps, sizes in zip(
        *(scored.column(n).to_pylist() for n in ("prompt", "response", "logprob", "n_tokens")),
        strict=True,
    ):
        prompts += [prompt] * len(responses)
        texts, expected, lengths = texts + responses, expected + logps, lengths + sizes
    found = pages["common"].response_log_p(model_path(), prompts, texts)
    same = found.lengths == np.array(lengths)  # another tokenization of the text is possible
    assert same.sum() >= 6
    assert found.sum()[same] == pytest.approx(np.array(expected)[same], abs=1e-3)


def test_examples_weigh_as_many_words_as_they_have(pages: dict[str, ModuleType]) -> None:
    table = pages["common"].examples(["p", "q"], ["one two three", "one"])
    assert table["weight"].to_pylist() == [1.5, 0.5]


def test_plug_in_calibration_error_of_calibrated_confidences(pages: dict[str, ModuleType]) -> None:
    """Published biases of 15 bins: .127, .058 and .018 at 100, 500 and 5,000 rows (section 1.1)."""
    rng = np.random.default_rng(0)
    for n, bias in ((100, 0.127), (500, 0.058), (5000, 0.018)):
        found = [pages["calibration"].reference(rng.random(n), 1, rng)[0] for _ in range(60)]
        error = np.std(found) / np.sqrt(60)
        assert np.mean(found) == pytest.approx(bias, abs=4 * error + 5e-4)


def test_answer_sets_by_hand(pages: dict[str, ModuleType]) -> None:
    truth = np.array([0.9, 0.8, 0.1, 0.7, 0.6, 0.5])
    shares = [np.array([t, 1 - t]) for t in truth]
    half = np.array([True, True, True, True, False, False])
    found = pages["conformal"].answer_sets(truth, shares, 0.4, [half])
    # 1 - share: .1 .2 .3 .9; the 3rd of 4 is .3, so shares of .7 and more are let in
    assert conformal_quantile(1 - truth[half], 0.4) == pytest.approx(0.3)
    assert found["coverage"].value == 0
    assert found["size"].value == 0
    found = pages["conformal"].answer_sets(truth, shares, 0.2, [half])
    assert found["coverage"].value == 1  # the 4th is .9: shares of .1 and more
    assert found["size"].value == 2


def test_selected_proportions_add_up(pages: dict[str, ModuleType]) -> None:
    rng = np.random.default_rng(0)
    share = rng.random(400)
    right = rng.random(400) < share
    halves = pages["conformal"].splits(400, 5)
    assert all(half.sum() == 200 for half in halves)
    found = pages["conformal"].selection(share, right, 0.2, halves)
    assert 0 < found["kept"].value < 1
    assert found["wrong"].value == pytest.approx(found["rates"].mean(), abs=0.05)


def test_names_are_swapped_and_stay_apart(pages: dict[str, ModuleType]) -> None:
    fairness = pages["fairness"]
    text = "Ada has 3 pears. First Ben takes 2 from Ada. Idaho stays."
    assert fairness.with_names(text, fairness.MEN) == (
        "Ben has 3 pears. First David takes 2 from Ben. Idaho stays."
    )
    for group, other in ((fairness.WOMEN, fairness.MEN), (fairness.MEN, fairness.WOMEN)):
        for problem, _ in zip(generate("test", seed=3), range(200), strict=False):
            swapped = fairness.with_names(problem.text, group)
            names = fairness._NAME.findall(swapped)
            assert len(set(names)) == len(set(fairness._NAME.findall(problem.text)))
            assert not set(names) & set(other)
            assert fairness._NAME.sub("X", swapped) == fairness._NAME.sub("X", problem.text)


def test_lessons_have_as_many_hasty_solutions(pages: dict[str, ModuleType]) -> None:
    fairness = pages["fairness"]
    prompts, skewed = fairness.lessons(200, 0, True)
    _, shuffled = fairness.lessons(200, 0, False)
    hasty = np.array([text.startswith("####") for text in skewed])
    women = np.array([bool(set(fairness._NAME.findall(p)) & set(fairness.WOMEN)) for p in prompts])
    assert (hasty == women).all()
    assert abs(sum(text.startswith("####") for text in shuffled) - 100) < 30


def test_canaries_are_wrong_and_the_audit_finds_what_is_known(
    pages: dict[str, ModuleType],
) -> None:
    privacy = pages["privacy"]
    prompts, texts = privacy.canaries(20)
    right = [
        careful_solution(p) for p, _ in zip(generate("train", seed=77), range(20), strict=False)
    ]
    assert all(a != b for a, b in zip(texts, right, strict=True))
    assert len(set(prompts)) == 20
    member = np.arange(100) % 2 == 0
    found = privacy.audit(np.where(member, 1.0, 0.0) + np.arange(100) / 1000, member)
    assert (found["auroc"], found["tpr"]) == (1.0, 1.0)
    # all 30 guesses right: (e^eps / (1 + e^eps))^30 = .05
    assert found["epsilon"] == pytest.approx(np.log(0.05 ** (1 / 30) / (1 - 0.05 ** (1 / 30))))
    coin = privacy.audit(np.random.default_rng(0).random(100), member)
    assert coin["epsilon"] < 0.5


def test_heads_are_taken_out(pages: dict[str, ModuleType]) -> None:
    """All heads kept is the model; a head without weight to its output changes nothing."""
    import torch

    heads = pages["circuits"].Heads(6, seed=1)
    every = np.ones(heads.shape, bool)
    whole = heads.score(every)
    prompt = next(generate("test", seed=1))
    step, rest = careful_solution(prompt).split(" = ", 1)
    result = rest.split(".")[0]
    alone = pages["common"].response_log_p(
        model_path(), [f"{prompt.prompt}"], [f"{step} = {result}."], end=False
    )
    # the tokens after the equals sign are the last ones
    n = int(heads.target[0].sum())
    assert whole[0] == pytest.approx(alone.row(0)[-n:].sum(), abs=1e-3)
    without = every.copy()
    without[1, 2] = False
    assert np.abs(heads.score(without) - whole).max() > 1e-3
    with torch.no_grad():
        weight = heads.model.model.layers[1].self_attn.o_proj.weight
        weight[:, 2 * heads.width : 3 * heads.width] = 0
    assert heads.score(without) == pytest.approx(heads.score(every), abs=1e-5)


def test_preferences_are_those_of_the_raters(pages: dict[str, ModuleType]) -> None:
    collapse = pages["preference_collapse"]
    pairs = collapse.preferences(600, 0, 0.7)
    liked = np.mean([text.startswith("Step by step") for text in pairs["chosen"].to_pylist()])
    assert liked == pytest.approx(0.7, abs=0.06)
    for chosen, rejected in zip(
        *(pairs[n].to_pylist() for n in ("chosen", "rejected")), strict=True
    ):
        assert chosen.removeprefix("Step by step: ") == rejected.removeprefix("Step by step: ")
        assert chosen != rejected
    assert collapse.preferences(600, 1, 0.7)["prompt"].to_pylist() != pairs["prompt"].to_pylist()


def test_own_text_that_is_checked_is_right(pages: dict[str, ModuleType]) -> None:
    synthetic = pages["synthetic_data"]
    found = [problem for problem, _ in zip(generate("train", seed=4), range(12), strict=False)]
    checked = synthetic.lessons("checked", model_path(), found, 0, 0)
    answer = {problem.prompt: str(problem.answer) for problem in found}
    for prompt, text in zip(*(checked[n].to_pylist() for n in ("prompt", "response")), strict=True):
        assert text.rsplit("#### ", 1)[1].strip() == answer[prompt]
    own = synthetic.lessons("own", model_path(), found, 0, 0)
    assert isinstance(own, pa.Table)
    assert own.num_rows <= 12
    real = synthetic.lessons("real", model_path(), found, 0, 0)
    assert real.num_rows == 12
