"""Log-probability of responses without their prompt, which says how much the prompt matters."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa

from statllm.errors import InputError
from statllm.generations import Generations
from statllm.scoring.token_laws import encoded, start_token, token_log_p

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


def with_logprob_alone(
    generations: Generations, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase
) -> Generations:
    """Add `logprob_alone`: log p of each response with nothing before it, in nats.

    Its mean over tokens against that with the prompt is the instruction-following difficulty of
    Li et al. 2024 (arXiv 2308.12032): near 1 where the prompt is no help. The tokens are those of
    the response's text; a response without any has 0.

    Parameters
    ----------
    generations : Generations
        With ``response``.
    model, tokenizer
        Of transformers; the tokenizer's beginning of text (or else its end) comes first.

    Raises
    ------
    InputError
        If ``response`` is missing, or the tokenizer has neither of the two tokens.

    Examples
    --------
    >>> from transformers import AutoModelForCausalLM, AutoTokenizer
    >>> from statllm.lab import model_path
    >>> model = AutoModelForCausalLM.from_pretrained(model_path())
    >>> g = Generations(pa.table({"prompt_id": ["p"], "response": [["#### 4", "Easy. #### 9"]]}))
    >>> found = with_logprob_alone(g, model, AutoTokenizer.from_pretrained(model_path()))
    >>> [round(x) < 0 for x in found.column("logprob_alone")[0].as_py()]
    [True, True]
    """
    start = start_token(tokenizer)
    if start is None:
        raise InputError("the tokenizer has no token that begins or ends a text")
    rows = generations.column("response").to_pylist()
    texts = [text for row in rows for text in row or () if text]
    found = iter(token_log_p(model, encoded(tokenizer, texts), start=start).sum().tolist())
    values = [
        [None if text is None else (next(found) if text else 0.0) for text in row or ()]
        for row in rows
    ]
    return generations.with_columns({"logprob_alone": pa.array(values, pa.list_(pa.float64()))})
