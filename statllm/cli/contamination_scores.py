"""Texts of a file, and the scores of membership that a model gives them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from statllm.errors import InputError

if TYPE_CHECKING:
    from statllm.ragged import FloatArray, Ragged
    from statllm.scoring.token_laws import TokenLaws

Score = Literal["min-k++", "min-k", "loss", "zlib", "curvature", "reference"]

#: Shares of tokens of the Min-K scores that data-set inference combines.
RATIOS = (0.05, 0.1, 0.2, 0.3, 0.5)


@dataclass(frozen=True)
class Texts:
    """Rows of a file; `groups` as text, where a column of them was asked for."""

    path: Path
    texts: list[str]
    groups: list[str] | None

    def __len__(self) -> int:
        return len(self.texts)


def read_texts(path: Path, column: str, group: str | None = None) -> Texts:
    """Read a column of texts, and one of groups.

    Raises
    ------
    InputError
        Names the file, the column and the row of what is missing or isn't text.
    """
    from statllm._formats import read_rows

    table = read_rows(path)
    for name in filter(None, (column, group)):
        if name not in table.column_names:
            raise InputError(
                f"{path} has no column '{name}'; it has {', '.join(table.column_names)}"
            )
    if table.num_rows == 0:
        raise InputError(f"{path} has no rows")
    texts = table[column].to_pylist()
    for row, text in enumerate(texts):
        if not isinstance(text, str):
            kind = "null" if text is None else type(text).__name__
            raise InputError(f"{path}: column '{column}' is {kind} in row {row}, text was expected")
    if group is None:
        return Texts(path, texts, None)
    groups = table[group].to_pylist()
    if None in groups:
        raise InputError(f"{path}: column '{group}' is null in row {groups.index(None)}")
    return Texts(path, texts, [str(each) for each in groups])


class Reader:
    """A model that reads texts, and what it makes of them."""

    def __init__(self, name: str) -> None:
        from statllm.models import load_model, load_tokenizer
        from statllm.scoring.token_laws import start_token
        from statllm.stages import resolve_model

        source = resolve_model(name)
        self.tokenizer, self.model = load_tokenizer(source), load_model(source)
        self.start = start_token(self.tokenizer)

    def tokens(self, texts: Sequence[str]) -> Ragged:
        """Return the token ids of texts."""
        from statllm.scoring.token_laws import encoded

        return encoded(self.tokenizer, texts)

    def log_p(self, texts: Sequence[str]) -> Ragged:
        """Return the log-probability of each token."""
        from statllm.scoring.token_laws import token_log_p

        return token_log_p(self.model, self.tokens(texts), start=self.start)

    def laws(self, texts: Sequence[str]) -> TokenLaws:
        """Return it with its mean and standard deviation."""
        from statllm.scoring.token_laws import token_laws

        return token_laws(self.model, self.tokens(texts), start=self.start)


def membership_scores(
    reader: Reader, compared: Reader | None, texts: Sequence[str], score: Score, ratio: float
) -> FloatArray:
    """Return one score per text; NaN where it has no token.

    Raises
    ------
    InputError
        If the score needs a reference model, and there is none.
    """
    from statllm.estimators import contamination as c
    from statllm.scoring.token_laws import zlib_bytes

    if score in ("min-k++", "curvature"):
        laws = reader.laws(texts)
        if score == "curvature":
            return c.curvature(laws.log_p, laws.mean, laws.sd)
        return c.min_k_plus_plus(laws.log_p, laws.mean, laws.sd, ratio)
    log_p = reader.log_p(texts)
    if score == "reference":
        if compared is None:
            raise InputError("--score reference needs --reference-model")
        return c.reference_ratio(log_p, compared.log_p(texts))
    if score == "min-k":
        return c.min_k_percent(log_p, ratio)
    if score == "zlib":
        return c.zlib_ratio(log_p, zlib_bytes(texts))
    return c.mean_log_p(log_p)


def inference_features(reader: Reader, texts: Sequence[str]) -> FloatArray:
    """Return the scores that data-set inference combines, shape (n_texts, 3 + 2 per ratio)."""
    import numpy as np

    from statllm.estimators import contamination as c
    from statllm.scoring.token_laws import zlib_bytes

    laws = reader.laws(texts)
    columns = [
        c.mean_log_p(laws.log_p),
        c.zlib_ratio(laws.log_p, zlib_bytes(texts)),
        c.curvature(laws.log_p, laws.mean, laws.sd),
    ]
    for ratio in RATIOS:
        columns.append(c.min_k_percent(laws.log_p, ratio))
        columns.append(c.min_k_plus_plus(laws.log_p, laws.mean, laws.sd, ratio))
    return np.stack(columns, axis=1)
