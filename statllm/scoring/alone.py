"""Log-probability of responses without their prompt, which says how much the prompt matters."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa

from statllm.errors import InputError
from statllm.generations import Generations
from statllm.ragged import Ragged
from statllm.scoring.token_laws import encoded, start_token, token_log_p

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


def with_logprob_alone(
    generations: Generations, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase
) -> Generations:
    """Add `logprob_alone`: log p of each response with nothing before it, in nats.

    Its mean over tokens against that with the prompt is the instruction-following difficulty of
    Li et al. 2024 (arXiv 2308.12032): near 1 where the prompt is no help. The tokens are the
    sampled ones, an end of text among them, as in ``logprob``: only sums over the same tokens can
    be compared. Where there are none they are those of the text. A response without any has 0.

    Parameters
    ----------
    generations : Generations
        With ``response``; used where present: ``token_ids``.
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
    if "token_ids" in generations:
        lists = [ids or () for row in generations.column("token_ids").to_pylist() for ids in row]
        tokens = Ragged.from_lists(lists)
    else:
        tokens = encoded(tokenizer, [text or "" for row in rows for text in row or ()])
    found = iter(token_log_p(model, tokens, start=start).sum().tolist())
    values = [[_known(text, next(found)) for text in row or ()] for row in rows]
    return generations.with_columns({"logprob_alone": pa.array(values, pa.list_(pa.float64()))})


def _known(text: str | None, value: float) -> float | None:
    return None if text is None else value
