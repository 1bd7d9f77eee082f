"""Rewards of responses from a reward model's folder: batched by tokens, cached by content."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from statllm.errors import InputError
from statllm.files import sha256
from statllm.models import check_model_folder, load_tokenizer
from statllm.scoring._encoders import batches, finite_rows
from statllm.scoring.model_cache import open_cache, remembered, text_key
from statllm.scoring.reward_models.decoder import Decoder
from statllm.scoring.reward_models.encoder import Encoder, is_encoder
from statllm.scoring.reward_models.encoding import Prompt, text_of
from statllm.scoring.reward_models.heads import LinearHead, read_head

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
LongTexts = Literal["error", "null"]

_BLOCK = 4096  # texts tokenised at a time
_NO_LIMIT = 1_000_000  # tokenizers without a limit give 1e30


@dataclass(frozen=True, eq=False)
class RewardOutputs:
    """What a reward model says about responses.

    Attributes
    ----------
    reward : ndarray of float64, shape (n,)
        NaN for a text that is too long, where that is allowed.
    objectives : ndarray of float64, shape (n, n_objectives)
        Rewards before the gating, for models that have several; else of width 0.
    features : ndarray of float64, shape (n, width) or (n, 0)
        What the reward is a linear function of, where asked for.
    """

    reward: FloatArray
    objectives: FloatArray
    features: FloatArray


@dataclass
class RewardModel:
    """A reward model: a transformers model with a head that gives a response a number.

    Skywork's and other sequence classifiers with one label, Athene's ``v_head`` and ArmoRM's
    gated objectives are known by the names of their weights; the heads are computed here, and no
    code of a model's repository is run. The number of a text doesn't depend on what else is
    scored, but for rounding: padding is on the right, and masked.

    An encoder with one label, such as OpenAssistant's reward-model-deberta-v3-large-v2, reads
    prompt and response as a pair of texts, with its tokenizer's own special tokens and token
    types. The prompt is text or one message; `chat` makes no difference.

    The classifier's token is the one that transformers takes, the last one that isn't the
    configuration's ``pad_token_id`` (where this is the end-of-sequence token too, the one before
    the end). Athene's is a CLS token behind the conversation; its published pipeline puts a
    second begin-of-text token in front, which isn't done here.

    Parameters
    ----------
    folder : str or Path
        With safetensors weights.
    device : str
        ``"auto"`` is CUDA where there is one, else the CPU.
    dtype : str
        Of the backbone: float32, bfloat16, float16, or ``"auto"``, the checkpoint's own. A
        decoder's head is computed in float32.
    token_budget : int
        A batch has at most so many tokens, padding included, unless a single text has more.
    cache : str or Path, optional
        Folder of what was computed before, see `statllm.scoring.model_cache`. Default: in the
        user's cache folder.
    chat : bool
        Take a prompt that is a string for the one message of a user. Default: it's put before
        the response as it is, and an end-of-sequence token behind.
    too_long : {"error", "null"}
        What to do about a text that has more tokens than the model reads.

    Raises
    ------
    InputError
        If the folder isn't one of a model. That its head is unknown, or a text too long, is found
        when rewards are asked for.

    Examples
    --------
    >>> model = RewardModel("models/Skywork-Reward-V2-Llama-3.1-8B")  # doctest: +SKIP
    >>> prompt = [{"role": "user", "content": "What is 7 times 8?"}]
    >>> model.score([prompt, prompt], ["56", "54"])  # doctest: +SKIP
    array([ 21.3, -14.1])
    """

    folder: str | Path
    device: str = "auto"
    dtype: str = "float32"
    token_budget: int = 16384
    cache: str | Path | None = None
    chat: bool = False
    too_long: LongTexts = "error"

    def __post_init__(self) -> None:
        self.folder = check_model_folder(self.folder)
        if self.token_budget < 1:
            raise InputError(f"token_budget must be at least 1, not {self.token_budget}")
        if self.too_long not in get_args(LongTexts):
            raise InputError(f"too_long must be error or null, not '{self.too_long}'")

    @property
    def path(self) -> Path:
        """The folder."""
        return Path(self.folder)

    def score(self, prompts: Sequence[Prompt], responses: Sequence[str]) -> FloatArray:
        """Return the reward of each response to its prompt, shape (n,)."""
        return self.outputs(prompts, responses).reward

    def outputs(
        self, prompts: Sequence[Prompt], responses: Sequence[str], *, features: bool = False
    ) -> RewardOutputs:
        """Return the rewards, the objectives, and the features where asked for.

        Raises
        ------
        InputError
            If a text is too long or can't be encoded, the head isn't known, or features are
            asked of a head that isn't linear.
        """
        if len(prompts) != len(responses):
            raise InputError(f"there are {len(prompts)} prompts for {len(responses)} responses")
        keys = [text_key(text_of(p), r) for p, r in zip(prompts, responses, strict=True)]
        first: dict[bytes, int] = {}
        for place, key in enumerate(keys):
            first.setdefault(key, place)
        asked = list(first.values())

        def compute(missing: IntArray) -> Iterator[tuple[IntArray, NDArray[np.float32]]]:
            places = [asked[i] for i in missing]
            texts = [(prompts[i], responses[i]) for i in places]
            for batch, rows in self._forward(texts, features):
                yield missing[batch], rows

        template = self.path / "chat_template.jinja"  # the fingerprint has the other files
        settings = {
            "kind": "reward-features" if features else "reward",
            "dtype": self.dtype,
            "chat": self.chat,
            "too_long": self.too_long,
            "chat_template": sha256(template) if template.is_file() else None,
        }
        kept = open_cache(self.cache, self.path, settings)
        rows = remembered(kept, list(first), compute).astype(np.float64)
        number = {key: i for i, key in enumerate(first)}
        rows = rows[[number[key] for key in keys]]
        if not len(rows):
            return RewardOutputs(np.empty(0), np.empty((0, 0)), np.empty((0, 0)))
        width = self.width if features else 0
        ends = rows.shape[1] - width
        return RewardOutputs(rows[:, 0], rows[:, 1:ends], rows[:, ends:])

    def release(self) -> None:
        """Let go of the model's memory; it's loaded again where it's needed."""
        self.__dict__.pop("_loaded", None)

    @cached_property
    def width(self) -> int:
        """Number of features: the width of the head's input."""
        return len(self.head_weights)

    @cached_property
    def head_weights(self) -> FloatArray:
        """Weights of a linear head, in the order of the features.

        Raises
        ------
        InputError
            If the head isn't linear.
        """
        if is_encoder(self.path):
            raise InputError(f"model {self.path} is an encoder: features are those of a decoder")
        head = read_head(self.path)
        if not isinstance(head, LinearHead):
            raise InputError(
                f"model {self.path} has a gated head: its reward isn't linear in features"
            )
        weights: FloatArray = head.weight[0].double().numpy()
        return weights

    # ---- the model ----------------------------------------------------------------------------

    @cached_property
    def _tokenizer(self) -> Any:
        return load_tokenizer(self.path)

    @cached_property
    def _loaded(self) -> Decoder | Encoder:
        given = (self.path, self._tokenizer, self.device, self.dtype)
        return Encoder.load(*given) if is_encoder(self.path) else Decoder.load(*given, self.chat)

    def _forward(
        self, texts: Sequence[tuple[Prompt, str]], features: bool
    ) -> Iterator[tuple[IntArray, NDArray[np.float32]]]:
        """Places of texts and their numbers, batch by batch, long ones first."""
        if features:
            _ = self.head_weights  # refuse other heads before a model is loaded
        lengths = np.array([len(text_of(p)) + len(r) for p, r in texts], dtype=np.int64)
        order = np.argsort(-lengths, kind="stable")
        for start in range(0, len(order), _BLOCK):
            block = order[start : start + _BLOCK]
            model = self._loaded
            encoded = [model.encode(*texts[i]) for i in block]
            n_tokens = np.array([len(each.ids) for each in encoded], dtype=np.int64)
            fits = self._fits(n_tokens, [texts[i] for i in block], model.max_tokens)
            width = 1 + model.n_objectives + (self.width if features else 0)
            if not fits.all():
                missing = np.full((int((~fits).sum()), width), np.nan, np.float32)
                yield block[~fits], missing
            kept = np.flatnonzero(fits)
            for chosen in batches(n_tokens[kept], self.token_budget):
                places = kept[chosen]
                outputs, states = model.outputs([encoded[i] for i in places])
                both = finite_rows(outputs, self.path)
                if features:
                    both = np.concatenate([both, finite_rows(states, self.path)], axis=1)
                yield block[places], both

    def _fits(
        self, n_tokens: IntArray, texts: Sequence[tuple[Prompt, str]], positions: int | None
    ) -> NDArray[np.bool_]:
        """Which texts the model can read; the first one that it can't may be refused."""
        most = min(positions or _NO_LIMIT, self._tokenizer.model_max_length, _NO_LIMIT)
        fits: NDArray[np.bool_] = n_tokens <= most
        if not fits.all() and self.too_long == "error":
            worst = int(np.argmax(~fits))
            prompt = text_of(texts[worst][0])[5:45]
            raise InputError(
                f"model {self.path} reads {most} tokens, and a prompt with its response has "
                f"{n_tokens[worst]}: {prompt!r}...; too_long='null' gives it no reward"
            )
        return fits
