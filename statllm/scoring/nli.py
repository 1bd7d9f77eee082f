"""Which response entails which: a natural language inference model over all pairs of a table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from statllm.errors import InputError
from statllm.estimators.semantic.clusters import MNLI_ORDER
from statllm.estimators.semantic.pairwise import Pairwise
from statllm.files import read_json
from statllm.models import check_model_folder
from statllm.scoring._encoders import (
    LongTexts,
    coded_texts,
    finite_rows,
    forward,
    load_encoder,
)
from statllm.scoring.model_cache import open_cache, remembered, text_key

IntArray = NDArray[np.int64]

#: Logits of a text with itself: entailment with probability 1.
SAME_TEXT = (-np.inf, -np.inf, 0.0)


def nli_logits(
    texts: Any,
    model: str | Path,
    *,
    questions: Sequence[str] | None = None,
    classes: Sequence[str] | None = None,
    cache: str | Path | None = None,
    batch_tokens: int = 8192,
    long_texts: LongTexts = "error",
    device: str = "auto",
) -> Pairwise:
    """Put every two texts of a prompt through an NLI model, both ways.

    Parameters
    ----------
    texts : Arrow list column or list of lists of str
        The responses, a row per prompt.
    model : str or Path
        Folder of a transformers sequence classifier of three classes, such as DeBERTa fine-tuned
        on MNLI, with safetensors weights.
    questions : sequence of str, optional
        One per prompt, put before both texts with a space between, as Kuhn, Gal and Farquhar
        (2023) do: "7" and "seven" mean the same as answers to the same question. Default: the
        texts alone are compared.
    classes : sequence of str, optional
        Which of contradiction, neutral, entailment each output is, in the model's order. Default:
        by the names in the model's configuration (``id2label``).
    cache : str or Path, optional
        Folder of what was computed before, see `statllm.scoring.model_cache`. Default: in the
        user's cache folder.
    batch_tokens : int
        Tokens of a batch, padding included.
    long_texts : {"error", "cut"}
        What to do about a pair that is longer than the model reads.
    device : str
        ``"auto"`` is CUDA where there is one, else the CPU.

    Returns
    -------
    Pairwise of float64, values of shape (n_pairs, 3)
        Logits of contradiction, neutral and entailment, in this order whatever the model's is,
        for premise i and hypothesis j: what `nli_relation`, `nli_similarity` (with
        ``logits=True``) and `luq` take. A text entails itself by definition: equal texts don't go
        through the model and have (-inf, -inf, 0), probability 1.

    Raises
    ------
    InputError
        If a text is missing or too long, the model isn't one of NLI or its classes aren't known,
        or the cache is damaged.

    Notes
    -----
    Each distinct ordered pair goes through the model once, whichever prompts and samples have it,
    and never again as long as the cache is there.

    Examples
    --------
    >>> nli = nli_logits([["It is 7.", "seven"]], "models/deberta-mnli")  # doctest: +SKIP
    >>> nli_relation(nli, "strict").block(0)  # doctest: +SKIP
    array([[ True,  True],
           [ True,  True]])
    """
    folder = check_model_folder(model)
    order = _class_order(folder, classes)
    codes, vocabulary = coded_texts(texts, questions)
    pairs = Pairwise.of_sizes(codes.lengths)
    left, right = codes.values[pairs.left], codes.values[pairs.right]
    differ = left != right
    n = max(len(vocabulary), 1)
    asked, place = np.unique(left[differ] * n + right[differ], return_inverse=True)
    premises = [vocabulary[i] for i in asked // n]
    hypotheses = [vocabulary[i] for i in asked % n]

    def compute(missing: IntArray) -> Iterator[tuple[IntArray, NDArray[np.float32]]]:
        classifier = load_encoder(folder, "classifier", device)
        two = [[premises[i] for i in missing], [hypotheses[i] for i in missing]]
        for places, output, _ in forward(classifier, two, batch_tokens, long_texts):
            yield missing[places], finite_rows(output.logits, folder)

    kept = open_cache(cache, folder, {"kind": "nli", "long_texts": long_texts})
    keys = [text_key(a, b) for a, b in zip(premises, hypotheses, strict=True)]
    logits = remembered(kept, keys, compute)
    values = np.tile(np.array(SAME_TEXT), (len(pairs.values), 1))
    if len(asked):
        values[differ] = logits[:, order][place]
    return pairs.with_values(values)


def _class_order(folder: Path, classes: Sequence[str] | None) -> list[int]:
    """For contradiction, neutral, entailment: which output of the model it is."""
    config = read_json(folder / "config.json")
    labels = config.get("id2label") or {}
    named = [str(labels[key]) for key in sorted(labels, key=int)]
    if classes is not None:
        if sorted(classes) != sorted(MNLI_ORDER):
            raise InputError(
                f"classes must be {', '.join(MNLI_ORDER)} in some order, not {', '.join(classes)}"
            )
        if len(named) != len(MNLI_ORDER):  # a configuration without names has two classes
            raise InputError(f"model {folder} has {len(named) or 2} classes, not three")
        return [list(classes).index(name) for name in MNLI_ORDER]
    lower = [name.lower() for name in named]
    if sorted(lower) != sorted(MNLI_ORDER):
        raise InputError(
            f"model {folder} doesn't say which of its outputs is contradiction, neutral and "
            f"entailment: its classes are {', '.join(named) or 'not named'}; give them in order"
        )
    return [lower.index(name) for name in MNLI_ORDER]
