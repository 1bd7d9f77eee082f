"""Lessons for a judge, from its own judgements of pairs whose better response is known."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from statllm._formats import read_rows, write_table
from statllm.ledger import KEPT, count_reasons
from statllm.pairs import PAIR_COLUMNS, check_columns
from statllm.scoring.judges._steps import put, questions_of, template_of
from statllm.scoring.judges.asking import JudgeModel
from statllm.scoring.judges.prompts import MESSAGES, pairwise_prompts
from statllm.scoring.judges.responses import prompt_text
from statllm.scoring.judges.settings import JudgeSettings, SelfTaughtSettings
from statllm.scoring.model_cache import text_key

BoolArray = NDArray[np.bool_]
IntArray = NDArray[np.int64]

_PLACES = ("A", "B")  # where the better response is shown


@dataclass(frozen=True, eq=False)
class SelfTaught:
    """What a judge can be trained on, and what became of every question to it.

    Attributes
    ----------
    examples : pyarrow.Table
        For SFT, one row per question that was kept: prompt_id, prompt (the question), response (a
        right judgement), weight, rule, model.
    pairs : pyarrow.Table
        A preference table: chosen is a right judgement, rejected another one; chosen_index and
        rejected_index are their votes.
    ledger : pyarrow.Table
        One row per pair of the input and order, a question: prompt_id, question_id, better ("A" or
        "B", where the better response was shown), n_judgements, which is the sum of n_right,
        n_wrong, n_tie, n_unread and n_missing (a server failed); example and pair: "kept" or why
        there is none; n_pairs.
    """

    examples: pa.Table
    pairs: pa.Table
    ledger: pa.Table

    def counts(self, what: str = "example") -> dict[str, int]:
        """Return questions by what became of their example, or pair; they add up."""
        return count_reasons(self.ledger[what])

    def summary(self) -> str:
        """Return one line."""
        n_right, n = (sum(self.ledger[name].to_pylist()) for name in ("n_right", "n_judgements"))
        lost = ", ".join(f"{count} {why}" for why, count in self.counts().items() if why != KEPT)
        line = (
            f"{self.ledger.num_rows} questions, {n_right} of {n} judgements right; "
            f"{self.examples.num_rows} examples, {self.pairs.num_rows} pairs"
        )
        return f"{line}; without example: {lost}" if lost else line

    def write(
        self,
        examples: str | Path,
        pairs: str | Path | None = None,
        ledger: str | Path | None = None,
    ) -> None:
        """Write the tables, by suffix Parquet, JSONL or CSV; the ledger comes first."""
        for table, path in ((self.ledger, ledger), (self.pairs, pairs), (self.examples, examples)):
            if path is not None:
                write_table(table, path)


def self_taught(
    pairs: pa.Table | str | Path,
    model: JudgeModel,
    settings: SelfTaughtSettings | None = None,
    *,
    cache: str | Path | None = None,
) -> SelfTaught:
    """Make training data for a judge by rejection sampling (Wang et al. 2024, arXiv 2408.02666).

    The judge compares the two responses of each pair, in both orders, `votes` times. A judgement
    is right where its verdict is for the better response. Of each question with a right one, one
    is drawn as an example for SFT, and pairs of a right and another judgement for preference
    training. Then questions are dropped at random until the better response is A as often as B.

    Parameters
    ----------
    pairs : pyarrow.Table or path
        A preference table, of which ``prompt_id``, ``prompt``, ``chosen`` and ``rejected`` are
        read: chosen is the better one, by a label or by construction, as
        `statllm.sampling.prompts.contrast` makes them.
    model : JudgeModel
        From `statllm.sampling.judge_model.open_judge`: the one to be trained, with a temperature.
    settings : SelfTaughtSettings, optional
    cache : str or Path, optional
        Folder of what judges have said, see `statllm.scoring.judges.asking.ask`.

    Returns
    -------
    SelfTaught
        Reasons for dropping a question: ``identical`` (both responses are the same text),
        ``no_right``, ``too_few_right`` (below `min_right`), ``balance``; of pairs also
        ``no_rejected`` (every judgement is right).

    Raises
    ------
    InputError
        If a column is missing or null, the template isn't pairwise, or the judge can't be asked.

    Notes
    -----
    What is drawn for a question depends on the seed, its prompt_id and its number alone; which
    questions are dropped for balance depends on all. The paper takes one order at random.

    Examples
    --------
    >>> import pyarrow as pa
    >>> from statllm.sampling.judge_model import open_judge  # doctest: +SKIP
    >>> known = pa.table({
    ...     "prompt_id": ["a"], "prompt": ["2 + 2?"], "chosen": ["4"], "rejected": ["5"],
    ... })
    >>> made = self_taught(known, open_judge("models/judge", sampling))  # doctest: +SKIP
    >>> made.write("examples.parquet", "pairs.parquet", "ledger.jsonl")  # doctest: +SKIP
    """
    settings = SelfTaughtSettings() if settings is None else settings
    judging = settings.judging
    template = template_of(judging)
    table = pairs if isinstance(pairs, pa.Table) else read_rows(pairs)
    table = check_columns(table, PAIR_COLUMNS, ("prompt_id", "prompt", "chosen", "rejected"))
    texts = list(zip(table["chosen"].to_pylist(), table["rejected"].to_pylist(), strict=True))
    differ = [better != worse for better, worse in texts]
    asked = pairwise_prompts(
        template,
        [prompt_text(prompt) for prompt in table["prompt"].to_pylist()],
        texts,
        extra=judging.extra,
        pairs=[[(0, 1)] if meet else [] for meet in differ],
    )
    _, said = put(model, template, asked, judging, cache)
    questions = _Questions(table, differ, asked, said, judging, settings)
    return questions.lessons(model.name)


class _Questions:
    """Judgements by question; question 2i shows the better response of pair i first."""

    def __init__(
        self,
        table: pa.Table,
        differ: Sequence[bool],
        asked: pa.Table,
        said: pa.Table,
        judging: JudgeSettings,
        settings: SelfTaughtSettings,
    ) -> None:
        self.settings = settings
        self.n = 2 * table.num_rows
        self.better = np.arange(self.n) % 2  # its place, 0 or 1
        prompt_ids = table["prompt_id"].to_pylist()
        self.prompt_ids = [name for name in prompt_ids for _ in _PLACES]
        seen: Counter[str] = Counter()
        self.names = []
        for name in prompt_ids:
            self.names += [f"{name}/{seen[name]}/{place}" for place in _PLACES]
            seen[name] += 1
        self.differ = np.repeat(np.array(differ, dtype=bool), 2)
        order = _number(asked).tolist()
        self.asked = dict(zip(order, questions_of(asked, judging), strict=True))

        # `said` has all votes of a question one after the other.
        self.votes = {
            question: range(row * settings.votes, (row + 1) * settings.votes)
            for row, question in enumerate(order)
        }
        self.of_vote = _number(said)
        self.texts = said["text"].to_pylist()
        value = said["verdict"].to_numpy()
        wanted = 1.0 - 2.0 * self.better[self.of_vote]
        missing = said["text"].is_null().to_numpy()
        self.right = value == wanted
        self.kinds = {
            "n_right": self.right,
            "n_wrong": value == -wanted,
            "n_tie": value == 0,
            "n_unread": np.isnan(value) & ~missing,
            "n_missing": missing,
        }
        self.rejected = self.kinds["n_wrong"].copy()
        if settings.unread_rejected:
            self.rejected |= self.kinds["n_tie"] | self.kinds["n_unread"]

    def lessons(self, judge: str) -> SelfTaught:
        """Draw examples and pairs, balance both, and account for all questions."""
        n_right, n_rejected = self._count(self.right), self._count(self.rejected)
        reasons = np.full(self.n, KEPT, dtype=object)
        reasons[n_right < self.settings.min_right * self.settings.votes - 1e-9] = "too_few_right"
        reasons[n_right == 0] = "no_right"
        reasons[~self.differ] = "identical"
        of_pair = reasons.copy()
        of_pair[(of_pair == KEPT) & (n_rejected == 0)] = "no_rejected"
        if self.settings.balance:
            self._balance(reasons)
            self._balance(of_pair)
        examples = [(q, self._drawn(q)) for q in np.flatnonzero(reasons == KEPT).tolist()]
        pairs = [
            (q, *both) for q in np.flatnonzero(of_pair == KEPT).tolist() for both in self._pairs(q)
        ]
        n_pairs = np.bincount([q for q, *_ in pairs], minlength=self.n) if pairs else [0] * self.n
        ledger = pa.table(
            {
                "prompt_id": pa.array(self.prompt_ids, pa.string()),
                "question_id": pa.array(self.names, pa.string()),
                "better": pa.array([_PLACES[place] for place in self.better], pa.string()),
                "n_judgements": pa.array(self._count(np.ones(len(self.texts), dtype=bool))),
                **{name: pa.array(self._count(kind)) for name, kind in self.kinds.items()},
                "example": pa.array(reasons.tolist(), pa.string()),
                "pair": pa.array(of_pair.tolist(), pa.string()),
                "n_pairs": pa.array(n_pairs, pa.int64()),
            }
        )
        return SelfTaught(self._examples(examples, judge), self._table(pairs, judge), ledger)

    def _count(self, which: BoolArray) -> IntArray:
        return np.bincount(self.of_vote[which], minlength=self.n)

    def _balance(self, reasons: NDArray[Any]) -> None:
        """Drop from the place that has more, those whose digest comes last."""
        kept = [np.flatnonzero((reasons == KEPT) & (self.better == place)) for place in (0, 1)]
        n = min(map(len, kept))
        for questions in kept:
            ordered = sorted(questions.tolist(), key=lambda q: self._digest("balance", q))
            reasons[ordered[n:]] = "balance"

    def _drawn(self, question: int) -> int:
        """One right judgement."""
        return int(self._draw("example", question).choice(self._where(self.right, question)))

    def _pairs(self, question: int) -> list[tuple[int, int]]:
        """Different pairs of a right judgement and another one."""
        right, rejected = (self._where(which, question) for which in (self.right, self.rejected))
        both = self._draw("pair", question).permutation(len(right) * len(rejected))
        return [
            (int(right[number // len(rejected)]), int(rejected[number % len(rejected)]))
            for number in both[: self.settings.pairs_per_question].tolist()
        ]

    def _where(self, which: BoolArray, question: int) -> IntArray:
        votes = self.votes[question]
        return votes.start + np.flatnonzero(which[votes.start : votes.stop])

    def _draw(self, purpose: str, question: int) -> np.random.Generator:
        return np.random.default_rng(int.from_bytes(self._digest(purpose, question)[:8], "big"))

    def _digest(self, purpose: str, question: int) -> bytes:
        return text_key(str(self.settings.seed), purpose, self.names[question])

    def _examples(self, drawn: list[tuple[int, int]], judge: str) -> pa.Table:
        return pa.table(
            {
                **self._shared([question for question, _ in drawn], judge),
                "response": pa.array([self.texts[vote] for _, vote in drawn], pa.string()),
            }
        )

    def _table(self, pairs: list[tuple[int, int, int]], judge: str) -> pa.Table:
        columns = self._shared([question for question, _, _ in pairs], judge)
        numbers: Counter[int] = Counter()
        names = []
        for question, _, _ in pairs:
            names.append(f"{self.names[question]}#{numbers[question]}")
            numbers[question] += 1
        columns["pair_id"] = pa.array(names, pa.string())
        for side, votes in (
            ("chosen", [right for _, right, _ in pairs]),
            ("rejected", [other for _, _, other in pairs]),
        ):
            columns[side] = pa.array([self.texts[vote] for vote in votes], pa.string())
            places = [vote % self.settings.votes for vote in votes]
            columns[f"{side}_index"] = pa.array(places, pa.int32())
        return pa.table({name: columns[name] for name in PAIR_COLUMNS if name in columns})

    def _shared(self, questions: list[int], judge: str) -> dict[str, pa.Array]:
        n = len(questions)
        kind = pa.string() if self.settings.plain else MESSAGES
        return {
            "prompt_id": pa.array([self.prompt_ids[q] for q in questions], pa.string()),
            "prompt": pa.array([self.asked[q] for q in questions], kind),
            "weight": pa.array(np.ones(n)),
            "rule": pa.array(["self_taught"] * n, pa.string()),
            "model": pa.array([judge] * n, pa.string()),
        }


def _number(table: pa.Table) -> IntArray:
    """Number of the question that each row of a table of questions or verdicts is about."""
    number: IntArray = 2 * table["prompt"].to_numpy() + table["first"].to_numpy()
    return number
