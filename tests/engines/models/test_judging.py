"""Judges on engines: the verdicts are those from memory, whatever the pieces."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from statllm.engines import EngineSettings, Source
from statllm.engines.judging import judge_file
from statllm.generations import Generations
from statllm.sampling import SamplingSettings
from statllm.sampling.judge_model import open_judge
from statllm.scoring.judges import JudgeSettings, YesNoJudge, judge

pytestmark = pytest.mark.usefixtures("one_ray")
Pieces = Callable[..., EngineSettings]
GREEDY = SamplingSettings(temperature=0.0, max_new_tokens=1)
TEMPLATES = {
    "pair": {"mode": "pairwise", "grammar": "brackets", "user": "{response_a} vs {response_b}"},
    "grade": {
        "mode": "pointwise", "grammar": "brackets", "user": "{response}", "low": 1, "high": 3,
    },
    "check": {
        "mode": "pointwise", "grammar": "brackets", "user": "{criterion} {response}",
        "low": 0, "high": 1,
    },
    "valid": {"mode": "yes-no", "grammar": "next_token", "user": "{response}"},
}  # fmt: skip


@pytest.fixture(scope="module")
def judge_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with random weights whose words are mostly verdicts, and templates beside it."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("judge")
    verdicts = ["[[A]]", "[[B]]", "[[C]]", "[[0]]", "[[1]]", "[[2]]", "[[3]]", "yes", "no", "hm"]
    words = ["<pad>", "<eos>", "<unk>", "vs", "even", "big", *map(str, range(10)), *verdicts]
    raw = Tokenizer(models.WordLevel({w: i for i, w in enumerate(words)}, unk_token="<unk>"))
    raw.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=raw, pad_token="<pad>", eos_token="<eos>", unk_token="<unk>"
    )
    tokenizer.chat_template = "{% for m in messages %}{{ m['content'] }} {% endfor %}"
    torch.manual_seed(5)  # whose verdicts on pairs are of all kinds, as is checked below
    config = LlamaConfig(
        vocab_size=len(words), hidden_size=32, intermediate_size=48, num_hidden_layers=2,
        num_attention_heads=4, max_position_embeddings=64, pad_token_id=0, eos_token_id=1,
        bos_token_id=None, tie_word_embeddings=False, initializer_range=0.5,
    )  # fmt: skip
    model = LlamaForCausalLM(config)
    with torch.no_grad():
        model.lm_head.weight[: len(words) - len(verdicts)] = 0.0
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    for name, given in TEMPLATES.items():
        text = yaml.safe_dump({"name": name, "version": 1, **given})
        (folder / f"{name}.yaml").write_text(text)
    (folder / "criteria.yaml").write_text("even: even\nbig: big\n")
    return folder


def judging(folder: Path, kind: Any) -> JudgeSettings:
    names = {"pairwise": "pair", "pointwise": "grade", "yes-no": "valid", "criteria": "check"}
    criteria = str(folder / "criteria.yaml") if kind == "criteria" else None
    return JudgeSettings(kind=kind, template=str(folder / f"{names[kind]}.yaml"), criteria=criteria)


@pytest.mark.parametrize("kind", ["pairwise", "pointwise", "yes-no", "criteria"])
def test_verdicts_are_those_of_the_table_in_memory(
    tmp_path: Path,
    judge_folder: Path,
    engine: str,
    kind: str,
    pieces: Pieces,
    same_but_for_rounding: Any,
    answers: pa.Table,
) -> None:
    if engine == "ray" and kind != "pairwise":
        pytest.skip("one kind is enough for Ray, whose actors take seconds to start")
    table, settings = answers, judging(judge_folder, kind)
    pq.write_table(table, tmp_path / "in.parquet")
    found = judge_file(
        judge_folder, Source(tmp_path / "in.parquet"), tmp_path / "j.parquet",
        tmp_path / "v.parquet", settings, GREEDY, cache=tmp_path / "engine",
        settings=pieces(engine),
    )  # fmt: skip
    model: Any = YesNoJudge.load(judge_folder) if kind == "yes-no" else None
    model = model or open_judge(judge_folder, GREEDY)
    expected = judge(Generations(table), model, settings, cache=tmp_path / "memory")
    rounded = {"reward", "judge_yes_no_mass", "verdict", "logprob_yes", "logprob_no"}
    rounded = rounded if kind == "yes-no" else set()
    same_but_for_rounding(
        pq.read_table(tmp_path / "j.parquet"), expected.generations.table, rounded
    )
    verdicts = pq.read_table(tmp_path / "v.parquet")
    if kind == "criteria":  # criterion after criterion, batch after batch
        order = [("prompt_id", "ascending"), ("response", "ascending"), ("criterion", "ascending")]
        verdicts, listed = (each.sort_by(order) for each in (verdicts, expected.verdicts))
        assert verdicts.equals(listed)
    else:
        same_but_for_rounding(verdicts, expected.verdicts, rounded)
    assert found.summary == expected.summary
    assert found.n_left_out == expected.n_left_out
    assert found.audit == expected.audit
    if kind == "pairwise":  # the premise: all kinds of pairs occur
        audit = expected.audit
        assert audit is not None
        assert min(audit.n_failed, audit.n_toward_first, audit.n_toward_second) > 0
        assert 0 < audit.consistency.value < 1


def test_parts_of_another_judge_are_not_taken_over(
    tmp_path: Path, judge_folder: Path, pieces: Pieces, answers: pa.Table
) -> None:
    """A template's words decide, not its name."""
    pq.write_table(answers, tmp_path / "in.parquet")
    template = tmp_path / "grade.yaml"
    settings = JudgeSettings(kind="pointwise", template=str(template))

    def go(on_part: Any = lambda done, of: None) -> pa.Table:
        judge_file(
            judge_folder, Source(tmp_path / "in.parquet"), tmp_path / "j.parquet", None,
            settings, GREEDY, cache=tmp_path, settings=pieces("local"), on_part=on_part,
        )  # fmt: skip
        return pq.read_table(tmp_path / "j.parquet")

    def stop(done: int, of: int) -> None:
        raise KeyboardInterrupt

    given = {"name": "grade", "version": 1, **TEMPLATES["grade"]}
    template.write_text(yaml.safe_dump(given))
    with pytest.raises(KeyboardInterrupt):
        go(stop)
    template.write_text(yaml.safe_dump(given | {"user": "big {response}"}))
    expected = judge(
        Generations(answers), open_judge(judge_folder, GREEDY), settings, cache=tmp_path
    )
    assert go().equals(expected.generations.table)
