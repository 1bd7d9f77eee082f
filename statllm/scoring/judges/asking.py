"""Questions to a judge and its texts: asked once, kept, and asked for again only where missing."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from statllm.errors import InputError
from statllm.scoring.judges.text_cache import TextCache
from statllm.scoring.model_cache import default_cache_folder, text_key

#: What a judge is sent: messages, or one text.
Question = str | Sequence[Mapping[str, str]]


class JudgeModel(Protocol):
    """A model that writes verdicts; `statllm.sampling.judge_model.open_judge` makes one."""

    name: str
    """For people: of the file of the cache, and in results."""

    identity: str
    """Whatever decides the texts, but the question and the vote's number: weights, settings."""

    samples: bool
    """Whether two votes on one question may differ; greedy ones don't."""

    def write(
        self, keys: Sequence[str], questions: Sequence[Question], votes: range
    ) -> Iterator[tuple[int, list[str | None]]]:
        """Yield places of questions, each with the texts of these votes, as they become known.

        `keys` name the questions by content, for random numbers. A text is None where it couldn't
        be had and the settings allow for that.
        """
        ...


def ask(
    judge: JudgeModel,
    questions: Sequence[Question],
    n_votes: int = 1,
    cache: str | Path | None = None,
) -> list[list[str | None]]:
    """Return what a judge writes to each question, vote by vote.

    Equal questions are asked once, and get the same texts. Texts are kept on disk as they come,
    by what they depend on: the judge with its settings, the exact question, the number of the
    vote. So a killed run goes on where it was, more votes are asked for alone, and another
    table that holds some of the same responses pays for the others only.

    Parameters
    ----------
    judge : JudgeModel
    questions : sequence of str or messages
    n_votes : int
        Samples per question.
    cache : str or Path, optional
        Folder of the caches of all judges; default ``judges`` beside the cache of models.

    Returns
    -------
    list of list of str or None, shape (n_questions, n_votes)
        None where a server failed to answer and this was allowed; such are never kept.

    Raises
    ------
    InputError
        If n_votes isn't positive, a judge that is greedy is asked for several votes, or the cache
        can't be used; from the judge, if a question can't be asked.
    """
    if n_votes < 1:
        raise InputError(f"n_votes must be at least 1, not {n_votes}")
    if n_votes > 1 and not judge.samples:
        raise InputError(
            f"{n_votes} votes of a greedy judge are one; give it a temperature above 0"
        )
    store = TextCache(_cache_file(judge, cache))
    names = [question_key(question) for question in questions]
    first = dict(zip(names, questions, strict=True))
    keys = {
        name: [text_key(judge.identity, name, str(v)) for v in range(n_votes)] for name in first
    }
    known = store.get([key for row in keys.values() for key in row])
    texts: dict[str, list[str | None]] = {
        name: [known.get(key) for key in row] for name, row in keys.items()
    }
    for votes, missing in _missing(texts).items():
        for place, written in judge.write(missing, [first[name] for name in missing], votes):
            name = missing[place]
            row, new = texts[name], {}
            for vote, text in zip(votes, written, strict=True):
                if row[vote] is None and text is not None:
                    row[vote] = new[keys[name][vote]] = text
            store.put(new)
    return [texts[name] for name in names]


def question_key(question: Question) -> str:
    """Digest of exactly what is asked.

    Examples
    --------
    >>> question_key("a") == question_key("a"), question_key("a") == question_key("b")
    (True, False)
    """
    plain = question if isinstance(question, str) else [dict(message) for message in question]
    raw = json.dumps(plain, sort_keys=True, ensure_ascii=True).encode()
    return hashlib.sha256(raw).hexdigest()[:40]


def _missing(texts: Mapping[str, Sequence[str | None]]) -> dict[range, list[str]]:
    """Questions that lack votes, by the range of votes that holds all they lack."""
    missing: dict[range, list[str]] = {}
    for name, written in texts.items():
        holes = [vote for vote, text in enumerate(written) if text is None]
        if holes:
            missing.setdefault(range(holes[0], holes[-1] + 1), []).append(name)
    return missing


def _cache_file(judge: JudgeModel, cache: str | Path | None) -> Path:
    folder = default_cache_folder().parent / "judges" if cache is None else Path(cache).expanduser()
    digest = hashlib.sha256(judge.identity.encode()).hexdigest()[:24]
    plain = "".join(c if c.isalnum() or c in "-_." else "-" for c in judge.name)
    return folder / f"judge-{plain}-{digest}.sqlite"
