"""A table of watermark tests: one row per document, one log p per configuration."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from statllm.errors import InputError
from statllm.estimators.watermark.screening import Screening
from statllm.scoring.watermarks.configurations import Configuration
from statllm.scoring.watermarks.documents import Documents
from statllm.scoring.watermarks.settings import DetectionSettings


def detect_watermarks(
    documents: Documents,
    configurations: Sequence[Configuration],
    settings: DetectionSettings | None = None,
) -> pa.Table:
    """Test documents for every configuration.

    Each (PRF seed, target) pair counts once in a document. `log_p` is the smallest log p plus
    ln K for K configurations: Bonferroni's bound, which is also Holm's for the first rejection,
    whatever the dependence between keys.

    Parameters
    ----------
    documents : Documents
    configurations : sequence of Configuration
    settings : DetectionSettings, optional

    Returns
    -------
    pyarrow.Table
        n_tokens, log_p, configuration (the one with the smallest log p), and for each NAME
        ``log_p[NAME]``, ``n_scored[NAME]`` and ``n_repeated[NAME]``. Null where nothing was tested.

    Raises
    ------
    InputError
        Names the configuration whose scheme can't read these tokens, or doesn't have this test.

    Examples
    --------
    >>> from statllm.estimators.watermark.schemes import make_scheme
    >>> from statllm.ragged import Ragged
    >>> tokens = Ragged.from_lists([[101, 7, 7, 2050, 99, 3], []], np.int64)
    >>> ours = Configuration("ours", make_scheme("vllm-gumbel", key=42))
    >>> table = detect_watermarks(Documents(tokens, np.arange(2), None), [ours])
    >>> table["n_scored[ours]"].to_pylist(), table["log_p"].null_count
    ([6, 0], 1)
    """
    settings = settings or DetectionSettings()
    if not configurations:
        raise InputError("there is no configuration to test for")
    columns: dict[str, Any] = {}
    each = []
    screening = Screening(documents.tokens)
    for configuration in configurations:
        try:
            found = screening.detect(configuration.scheme, settings.test, delta=settings.delta)
        except ValueError as error:
            raise InputError(f"configuration '{configuration.name}': {error}") from error
        log_p = np.where(found.n_scored < settings.min_tokens, np.nan, found.log_p)
        each.append(log_p)
        name = configuration.name
        columns[f"log_p[{name}]"] = pa.array(log_p, from_pandas=True)
        columns[f"n_scored[{name}]"] = pa.array(found.n_scored)
        columns[f"n_repeated[{name}]"] = pa.array(found.n_repeated)
    table = np.array(each)
    untested = np.all(np.isnan(table), axis=0)
    best = np.argmin(np.where(np.isnan(table), np.inf, table), axis=0)
    smallest = np.take_along_axis(table, best[None], axis=0)[0]
    log_p = np.minimum(smallest + math.log(len(configurations)), 0.0)
    names = pa.array([configuration.name for configuration in configurations])
    first = {
        "n_tokens": pa.array(documents.tokens.lengths),
        "log_p": pa.array(log_p, from_pandas=True),
        "configuration": names.take(pa.array(best, mask=untested)),
    }
    return pa.table(first | columns)
