"""Sampling until the answers decide: rounds, decisions, and what is guaranteed of them.

**What is guaranteed.** With a valid rule ('kt', 'kt-1v1', 'ppr-1v1'), for every prompt, the
probability that an answer is ever decided on which isn't a mode, a most probable answer of the
model among those that can be read, is at most alpha, however often one looks and wherever the
cap lies. It is not the share of wrong ones among decided prompts: of N prompts at most alpha N are
expected to be decided wrongly, and if few are decided that may be a large part of these. A prompt
that reaches the cap undecided has no answer. 'beta', 'dirichlet' and 'esc' guarantee nothing.

**What stopping does to statistics.** How many samples a prompt has depends on what they said. So
its vote share and margin lie too high (it stops when the leader is ahead), its entropy too low,
intervals around them miss their level, and so does the pass rate, which goes with the votes. ScPO
thresholds and weights that were chosen for a fixed number of votes mean something else.
What stays valid:

- the decision and its ``stop_doubt``, an anytime-valid p-value (of a valid rule);
- every statistic of the first `round` samples, which each prompt has whatever they said: they
  are n = `round` samples without stopping;
- Bayesian posteriors given their prior (`mode_probability`), as beliefs, not as error rates;
- figures over prompts of the whole procedure, sampling with this rule: the accuracy of its
  answers, the AUROC of any of its scores, calibration and conformal guarantees, provided that
  calibration and new prompts are sampled with the same rule and settings.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pyarrow as pa

from statllm.errors import InputError
from statllm.generations import Generations
from statllm.scoring.equivalence import check_method, equivalent
from statllm.scoring.score import with_answers

if TYPE_CHECKING:
    from statllm.estimators.stopping import AnswerStream, Decision
    from statllm.sampling.backend import Backend
    from statllm.sampling.decode import Decoded
    from statllm.sampling.progress import SamplingProgress
    from statllm.sampling.settings import SamplingSettings
    from statllm.scoring.settings import ScoringSettings

#: What stopping adds to each prompt's row.
STOP_COLUMNS = (
    "n_samples", "stop_rule", "stop_alpha", "stop_error_bound", "stop_cap", "stop_decided",
    "stop_answer", "stop_after", "stop_doubt",
)  # fmt: skip


@dataclass
class Drawn:
    """What one prompt has been asked for, and what its answers say so far."""

    stream: AnswerStream
    decision: Decision
    decoded: list[Decoded] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    answers: list[str] = field(default_factory=list)
    """Different ones, as first written."""

    def add(self, decoded: list[Decoded], texts: list[str], answers: list[str | None]) -> None:
        """Take the answers of a round, already merged with equal ones."""
        self.decoded += decoded
        self.texts += texts
        self.decision = self.stream.update(answers)


def check_scoring(scoring: ScoringSettings) -> None:
    """Raise `InputError` where answers can't be read with these settings."""
    check_method(scoring.equivalence)
    if scoring.rule == "none":
        raise InputError("stopping looks at answers; the answer rule 'none' finds none")


def sample_until_decided(
    backend: Backend,
    prompt_ids: Sequence[str],
    prompts: Sequence[Sequence[int]],
    scoring: ScoringSettings,
    line: SamplingProgress,
) -> list[Drawn]:
    """Sample each prompt in rounds, until its rule has fired or it has `settings.n` samples.

    Parameters
    ----------
    backend : Backend
        Its settings hold the rule.
    prompt_ids, prompts : sequences
        Names and token ids.
    scoring : ScoringSettings
        `rule`, `equivalence`, `units` and `null_answers` are used. With math-verify an answer
        joins the first one of its prompt that it is equivalent to.
    line : SamplingProgress

    Raises
    ------
    InputError
        If a prompt has more different answers than `settings.n_answers`.
    """
    settings = backend.settings
    drawn = []
    for _ in prompt_ids:
        stream = settings.answer_stream()
        drawn.append(Drawn(stream, stream.update(())))
    open_rows = list(range(len(drawn)))
    for start in range(0, settings.n, settings.round):
        numbers = range(start, min(start + settings.round, settings.n))
        names = [prompt_ids[row] for row in open_rows]
        decoded = backend.sample(names, [prompts[row] for row in open_rows], numbers, line.advance)
        texts = backend.text([sample.token_ids.tolist() for sample in decoded])
        answers = _answers(texts, scoring)
        for place, row in enumerate(open_rows):
            one, part = drawn[row], slice(place * len(numbers), (place + 1) * len(numbers))
            try:
                one.add(decoded[part], texts[part], _merged(one.answers, answers[part], scoring))
            except ValueError as error:
                message = f"prompt_id '{prompt_ids[row]}': {error}; 'kt' doesn't need n_answers"
                raise InputError(message) from error
        decided = [row for row in open_rows if drawn[row].decision.stop]
        line.skip(len(decided) * (settings.n - numbers.stop))
        open_rows = [row for row in open_rows if not drawn[row].decision.stop]
        if not open_rows:
            break
    return drawn


def _answers(texts: list[str], scoring: ScoringSettings) -> list[str | None]:
    """The answers that `statllm.scoring.score` would find."""
    table = pa.table(
        {"prompt_id": [str(i) for i in range(len(texts))], "response": [[text] for text in texts]}
    )
    scored = with_answers(Generations(table), scoring)
    answers: list[str | None] = scored.column("answer").combine_chunks().flatten().to_pylist()
    return answers


def _merged(
    known: list[str], answers: list[str | None], scoring: ScoringSettings
) -> list[str | None]:
    """Each answer as the first equal one of its prompt is written; new ones join `known`."""
    if scoring.equivalence != "math-verify":
        return answers
    merged: list[str | None] = []
    for answer in answers:
        same = next((k for k in known if equivalent(k, answer, scoring.equivalence)), answer)
        if same is not None and same not in known:
            known.append(same)
        merged.append(same)
    return merged


def with_decisions(table: pa.Table, drawn: Sequence[Drawn], settings: SamplingSettings) -> pa.Table:
    """Add the decisions to the samples' rows.

    Returns
    -------
    pa.Table
        With ``n_samples`` (drawn), ``stop_rule``, ``stop_alpha`` (null for 'esc'),
        ``stop_error_bound`` (the guaranteed bound: alpha, null where there's no guarantee),
        ``stop_cap`` (most samples), ``stop_decided``, ``stop_answer`` (the answer decided on, null
        if undecided), ``stop_after`` (samples after which the rule fired; null if undecided: later
        ones of that round are in the table, and the decision stands whatever they say),
        ``stop_doubt`` (what the rule compares with alpha: for a valid rule an anytime-valid
        p-value of "the leader isn't the mode").
    """
    rows = table.num_rows
    decisions = [one.decision for one in drawn]
    alpha = None if settings.stop_rule == "esc" else settings.alpha
    added = [
        pa.array([len(one.decoded) for one in drawn], pa.int64()),
        pa.array([settings.stop_rule] * rows, pa.string()),
        pa.array([alpha] * rows, pa.float64()),
        pa.array([settings.error_bound] * rows, pa.float64()),
        pa.array([settings.n] * rows, pa.int64()),
        pa.array([one.stop for one in decisions], pa.bool_()),
        pa.array([one.answer if one.stop else None for one in decisions], pa.string()),
        pa.array([one.n_samples if one.stop else None for one in decisions], pa.int64()),
        pa.array([one.doubt for one in decisions], pa.float64()),
    ]
    for name, column in zip(STOP_COLUMNS, added, strict=True):
        table = table.append_column(name, column)
    return table


def stopping_summary(table: pa.Table, settings: SamplingSettings) -> list[str]:
    """Return what stopping did, what it guarantees, and what it does to statistics: three lines.

    Parameters
    ----------
    table : pa.Table
        From `sample` with these settings.
    settings : SamplingSettings
    """
    rows, drawn = table.num_rows, sum(table["n_samples"].to_pylist())
    decided, possible = sum(table["stop_decided"].to_pylist()), rows * settings.n
    esc = settings.stop_rule == "esc"
    setting = f"window {settings.window}" if esc else f"alpha {settings.alpha:g}"
    used = f"{drawn / rows:.1f} of {settings.n} samples on average" if rows else "no prompts"
    saved = f", {1 - drawn / possible:.1%} saved" if rows else ""
    return [
        f"{settings.stop_rule}, {setting}: {decided} of {rows} prompts decided, {used}{saved}",
        _guarantee(settings, rows),
        bias_note(settings.round),
    ]


def bias_note(first: int | str) -> str:
    """What stopping does to statistics, where each prompt has `first` samples at least."""
    return (
        "vote shares, entropies and pass rates of such samples are biased (prompts stop when they "
        f"agree); valid are those of the first {first} samples, the decisions, and figures over "
        "prompts of the procedure as a whole"
    )


def _guarantee(settings: SamplingSettings, rows: int) -> str:
    """The guarantee in words, with its condition."""
    bound = settings.error_bound
    if bound is None:
        return (
            f"no guarantee: {settings.stop_rule} decides on answers that aren't the model's most "
            "probable one at a rate that nothing bounds; --stop anytime does"
        )
    known = f", given at most {settings.n_answers} possible answers" if settings.n_answers else ""
    return (
        "guarantee: for each prompt, at any time, the probability of deciding on an answer that "
        f"isn't the model's most probable one is at most {bound:g}{known}: of these {rows} "
        f"prompts, at most {bound * rows:.4g} in expectation, decided or not"
    )
