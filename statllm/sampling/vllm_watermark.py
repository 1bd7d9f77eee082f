"""Green lists in vLLM: left-hash logits processors for ``vllm serve --logits-processors``.

vLLM 0.33 watermarks by itself (``--watermark-config``, Gumbel-max); these classes are for green
lists, which it doesn't have. Two classes, because its two model runners have two interfaces:

- `GreenBias` for Model Runner V2, the default; also under speculative decoding.
- `GreenBiasV1` for the older runner (``VLLM_USE_V2_MODEL_RUNNER=0``).

vLLM gives its processors no options of their own, and logs its configuration; so the key comes from
a file, named by the environment, the same file with which `statllm watermark detect` reads::

    export STATLLM_WATERMARK_KEYS=keys.yaml          # - {name: ours, scheme: kgw, vocabulary: …}
    vllm serve MODEL --logits-processors statllm.sampling.vllm_watermark:GreenBias

Of several entries ``STATLLM_WATERMARK_CONFIGURATION`` names one. A request opts out with
``"vllm_xargs": {"watermark": 0}``. Nothing is registered as an entry point: vLLM would load it in
every server of the environment, asked for or not. ``docs/vllm.md`` says how to detect.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from statllm.errors import InputError
from statllm.estimators.watermark.prf.kgw import Kgw
from statllm.ragged import IntArray

KEYS, CONFIGURATION = "STATLLM_WATERMARK_KEYS", "STATLLM_WATERMARK_CONFIGURATION"
_MEMORY = 1 << 28  # bytes of lists on the device
_NONE = -1


class GreenLists:
    """Adds a bias to the green tokens of a batch; lists stay on the device once they were drawn.

    The lists are those of PyTorch's CPU generator, whatever the device: `Kgw` finds them, and so
    does transformers' ``WatermarkDetector``.

    Parameters
    ----------
    scheme : Kgw
        With left-hash seeds.
    vocabulary : int
        Of the model's logits.
    device : torch.device or str
    memory : int
        Bytes that lists may take; they are drawn anew where they don't fit.

    Raises
    ------
    InputError
        If the seeds are others, or the vocabulary isn't the scheme's.

    Examples
    --------
    >>> import torch
    >>> lists = GreenLists(Kgw(vocabulary=8, bias=3.0), 8, "cpu")
    >>> lists.add(torch.zeros(2, 8), np.array([5, -1])).sum(dim=1)  # two of eight are green
    tensor([6., 0.])
    """

    def __init__(self, scheme: Kgw, vocabulary: int, device: Any, memory: int = _MEMORY) -> None:
        import torch

        if scheme.seeding != "lefthash":
            raise InputError(f"vLLM's processor has left-hash seeds alone, not {scheme.seeding!r}")
        if scheme.vocabulary != vocabulary:
            raise InputError(
                f"the key file says vocabulary {scheme.vocabulary}, the model has {vocabulary} "
                "logits: the lists would be others"
            )
        self.scheme = scheme
        width = (scheme.vocabulary + 7) // 8
        self.most = max(1, min(memory // width, scheme.vocabulary))
        # row 0 has no green token: it is that of requests without a watermark
        self.rows = torch.zeros((self.most + 1, width), dtype=torch.uint8, device=device)
        self.places = {_NONE: 0}
        self.bits = torch.arange(8, dtype=torch.uint8, device=device)

    def add(self, logits: Any, last_tokens: IntArray) -> Any:
        """Raise the green logits in place, and return them.

        Parameters
        ----------
        logits : tensor of float32, shape (n, vocabulary)
        last_tokens : ndarray of int64, shape (n,)
            The token before each row's; -1 leaves the row alone.
        """
        n, size = logits.shape
        for start in range(0, n, self.most):
            part = last_tokens[start : start + self.most]
            rows = self.rows[self._placed(part)]
            green = (rows[:, :, None] >> self.bits) & 1
            green = green.reshape(len(part), -1)[:, :size]
            logits[start : start + self.most].add_(green.to(logits.dtype), alpha=self.scheme.bias)
        return logits

    def _placed(self, tokens: IntArray) -> list[int]:
        """The row of each token's list; there are at most as many tokens as rows."""
        import torch

        wanted = dict.fromkeys(tokens.tolist())
        new = [token for token in wanted if token not in self.places]
        if len(self.places) - 1 + len(new) > self.most:
            self.places = {_NONE: 0}
            new = [token for token in wanted if token != _NONE]
        if new:
            first = len(self.places)
            drawn = torch.from_numpy(self.scheme.lists(np.array(new, np.int64)[:, None]))
            self.rows[first : first + len(new)] = drawn.to(self.rows.device)
            self.places |= {token: first + k for k, token in enumerate(new)}
        return [self.places[token] for token in tokens.tolist()]


def configured_scheme() -> Kgw:
    """Return the scheme that the environment names.

    Raises
    ------
    InputError
        Says what is missing; it never shows a key.

    Examples
    --------
    >>> os.environ.pop(KEYS, None) and None
    >>> configured_scheme()
    Traceback (most recent call last):
    ...
    statllm.errors.InputError: set STATLLM_WATERMARK_KEYS to the path of a key file
    """
    from statllm.scoring.watermarks.configurations import read_configurations

    path, name = os.environ.get(KEYS), os.environ.get(CONFIGURATION)
    if not path:
        raise InputError(f"set {KEYS} to the path of a key file")
    found = read_configurations(Path(path))
    if name is not None:
        found = [each for each in found if each.name == name]
    if not found:
        raise InputError(f"{path} has no entry '{name}', which {CONFIGURATION} names")
    if len(found) > 1:
        names = ", ".join(each.name for each in found)
        raise InputError(f"{path} has several entries; set {CONFIGURATION} to one of {names}")
    scheme = found[0].scheme
    if not isinstance(scheme, Kgw):
        raise InputError(f"{path}, entry '{found[0].name}': the scheme must be kgw")
    return scheme


def is_wanted(sampling_params: Any) -> bool:
    """Whether a request is to be watermarked: unless its extra argument ``watermark`` is 0.

    Raises
    ------
    ValueError
        If it is neither 0 nor 1, true nor false.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> [is_wanted(SimpleNamespace(extra_args=given)) for given in (None, {}, {"watermark": 0})]
    [True, True, False]
    """
    given = (getattr(sampling_params, "extra_args", None) or {}).get("watermark", True)
    if given not in (0, 1):
        raise ValueError(f"watermark must be true or false, not {given!r}")
    return bool(given)


class _Checked:
    """What both interfaces ask at a request's admission."""

    @classmethod
    def validate_params(cls, sampling_params: Any) -> None:
        """Raise ValueError for an argument that `is_wanted` refuses."""
        is_wanted(sampling_params)


class _ModelRunnerV2(_Checked):
    """Rows are drafts or requests; each row's own input token is the context of left-hash."""

    def __init__(self, vllm_config: Any, req_states: Any) -> None:
        self.lists = GreenLists(configured_scheme(), req_states.vocab_size, req_states.device)
        self.wanted = np.zeros(req_states.max_num_reqs, np.bool_)

    def add_request(self, req_idx: int, sampling_params: Any) -> bool:
        """Note whether the slot's new request is to be marked; slots are used again."""
        self.wanted[req_idx] = is_wanted(sampling_params)
        return bool(self.wanted[req_idx])

    def apply_staged_writes(self) -> None:
        """Nothing is staged."""

    def apply(self, logits: Any, ctx: Any) -> Any:
        """Raise the green logits of rows whose request is to be marked."""
        if not self.wanted[ctx.idx_mapping_np].any():
            return logits
        slots = ctx.expanded_idx_mapping.cpu().numpy()
        tokens = ctx.input_ids.cpu().numpy().astype(np.int64)
        marked = (slots >= 0) & self.wanted[slots]  # rows that fill up have slot -1
        return self.lists.add(logits, np.where(marked, tokens, _NONE))


class _ModelRunnerV1(_Checked):
    """A row is a request; tokens are read from lists that vLLM appends to."""

    def __init__(self, vllm_config: Any, device: Any, is_pin_memory: bool) -> None:
        size = vllm_config.model_config.get_vocab_size()
        self.lists = GreenLists(configured_scheme(), size, device)
        #: Row: the prompt's tokens, and the answer's so far.
        self.requests: dict[int, tuple[Sequence[int], Sequence[int]]] = {}

    def is_argmax_invariant(self) -> bool:
        """No: the bias changes which token is the likeliest."""
        return False

    def update_state(self, batch_update: Any) -> None:
        """Follow what was removed from the batch, added to it and moved, in this order."""
        if batch_update is None:
            return
        for row in batch_update.removed:
            self.requests.pop(row, None)
        for row, parameters, prompt, output in batch_update.added:
            self.requests.pop(row, None)
            if is_wanted(parameters):
                self.requests[row] = (prompt or (), output)
        for one, other, direction in batch_update.moved:
            first, second = self.requests.pop(one, None), self.requests.pop(other, None)
            if first is not None:
                self.requests[other] = first
            if second is not None and direction.name == "SWAP":
                self.requests[one] = second

    def apply(self, logits: Any) -> Any:
        """Raise the green logits of rows whose request is to be marked."""
        if not self.requests:
            return logits
        tokens = np.full(len(logits), _NONE, np.int64)
        for row, (prompt, output) in self.requests.items():
            before = output or prompt
            if before:
                tokens[row] = before[-1]
                if before[-1] < 0:
                    raise RuntimeError(
                        "vLLM gave no token before the next one: start it with "
                        "--no-async-scheduling"
                    )
        return self.lists.add(logits, tokens)


_INTERFACES: dict[str, tuple[type[Any], str]] = {
    "GreenBias": (_ModelRunnerV2, "vllm.v1.worker.gpu.sample.logits_processor"),
    "GreenBiasV1": (_ModelRunnerV1, "vllm.v1.sample.logits_processor"),
}


@cache
def _with_interface(name: str) -> type[Any]:
    own, module = _INTERFACES[name]
    try:
        base = importlib.import_module(module).LogitsProcessor
    except (ImportError, AttributeError) as error:
        other = next(each for each in _INTERFACES if each != name)
        raise ImportError(
            f"{name} needs a vLLM that has {module}; {other} is for the other model runner"
        ) from error
    return type(name, (own, base), {"__module__": __name__, "__doc__": own.__doc__})


def __getattr__(name: str) -> Any:
    """Make the class that is asked for: each needs a vLLM that has its interface."""
    if name in _INTERFACES:
        return _with_interface(name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
