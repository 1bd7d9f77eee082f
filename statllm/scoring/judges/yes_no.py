"""Yes or no as a model's next word: its log-odds of one against the other, without sampling."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from statllm.errors import InputError
from statllm.models import encode_prompt, is_local, load_model, load_tokenizer, model_digest
from statllm.scoring._encoders import batches
from statllm.scoring.judges.asking import Question
from statllm.scoring.model_cache import ModelCache, default_cache_folder, remembered, text_key

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
Spelling = tuple[int, ...]


@dataclass(frozen=True)
class YesNoJudge:
    """A causal language model that answers with one of two words.

    The probability of a word is that of all its spellings together, each the product over its
    tokens. A spelling that goes on from another one is part of it and isn't counted again.

    Parameters
    ----------
    model, tokenizer
        As transformers loads them.
    name : str
        For people, and of the cache's file.
    digest : str
        Of the model's content.
    batch_tokens : int
        A batch has at most so many tokens, padding included, unless a single question has more.
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    name: str
    digest: str
    batch_tokens: int = 16384

    @classmethod
    def load(
        cls,
        source: str | Path | tuple[PreTrainedModel, PreTrainedTokenizerBase],
        dtype: str = "float32",
        device: str = "auto",
        batch_tokens: int = 16384,
    ) -> YesNoJudge:
        """Load a model folder or hub name; what is loaded already is used as it is."""
        if isinstance(source, tuple):
            model, tokenizer = source
            digest = model_digest(model)
            name = Path(model.name_or_path or "").name or type(model).__name__
        else:
            model, tokenizer = load_model(source, dtype, device), load_tokenizer(source)
            local = is_local(source)
            digest = model_digest(source if local else model)
            name = Path(source).expanduser().resolve().name if local else str(source)
        return cls(model, tokenizer, f"{name}@{digest[:12]}", digest, batch_tokens)

    def log_probabilities(
        self,
        questions: Sequence[Question],
        yes: Sequence[str] = ("yes", "Yes", "YES"),
        no: Sequence[str] = ("no", "No", "NO"),
        cache: str | Path | None = None,
    ) -> FloatArray:
        """Return log p(yes) and log p(no) as the next word after each question.

        Parameters
        ----------
        questions : sequence of str or messages
        yes, no : sequence of str
            Spellings; each is also tried with a space before it, since many tokenizers make that
            part of the word.
        cache : str or Path, optional
            Folder of what was computed before; default ``judges`` beside the cache of models.

        Returns
        -------
        ndarray of float64, shape (n_questions, 2)
            Nats, rounded to float32.

        Raises
        ------
        InputError
            If the two words share a spelling, or a question is too long.
        """
        words = [self.spellings(yes), self.spellings(no)]
        for one in words[0]:
            for other in words[1]:
                if one[: len(other)] == other[: len(one)]:
                    texts = [repr(self.tokenizer.decode(list(ids))) for ids in (one, other)]
                    raise InputError(
                        f"to model {self.name}, a spelling of yes begins as one of no does: "
                        f"{', '.join(texts)}"
                    )
        encoded = [self._encoded(question) for question in questions]
        keys = [text_key(json.dumps(ids)) for ids in encoded]  # tokens are all that the model sees
        first: dict[bytes, int] = {}
        for place, key in enumerate(keys):
            first.setdefault(key, place)
        asked = [encoded[place] for place in first.values()]

        def compute(missing: IntArray) -> Iterator[tuple[IntArray, NDArray[np.float32]]]:
            for places, rows in self._forward([asked[i] for i in missing], words):
                yield missing[places], rows

        rows = remembered(self._cache(words, cache), list(first), compute)
        number = {key: i for i, key in enumerate(first)}
        return rows[[number[key] for key in keys]].astype(np.float64).reshape(-1, 2)

    def spellings(self, words: Sequence[str]) -> list[Spelling]:
        """Return the token sequences of a word, none of which another one begins with.

        Raises
        ------
        InputError
            If there are none.
        """
        found: set[Spelling] = set()
        for word in words:
            for text in (word, f" {word}"):
                ids = self.tokenizer(text, add_special_tokens=False)["input_ids"]
                if len(ids) and self.tokenizer.unk_token_id not in ids:
                    found.add(tuple(ids))
        kept: list[Spelling] = []
        for ids in sorted(found, key=lambda ids: (len(ids), ids)):
            if not any(ids[: len(other)] == other for other in kept):
                kept.append(ids)
        if not kept:
            raise InputError(f"model {self.name} has no tokens for {', '.join(words)}")
        return kept

    def _encoded(self, question: Question) -> list[int]:
        ids = encode_prompt(self.tokenizer, question)
        if not ids:
            raise InputError("a question to the judge has no tokens")
        return ids

    def _cache(self, words: Sequence[Sequence[Spelling]], cache: str | Path | None) -> ModelCache:
        root = default_cache_folder().parent / "judges" if cache is None else Path(cache)
        about = [self.digest, str(self.model.dtype), words]
        digest = hashlib.sha256(json.dumps(about).encode()).hexdigest()
        plain = "".join(c if c.isalnum() or c in "-_." else "-" for c in self.name)
        return ModelCache(root.expanduser() / f"yes-no-{plain}-{digest[:24]}.sqlite")

    def _forward(
        self, questions: Sequence[list[int]], words: Sequence[Sequence[Spelling]]
    ) -> Iterator[tuple[IntArray, NDArray[np.float32]]]:
        """Places of questions and their two log-probabilities, long ones first.

        Every spelling but its last token stands behind the question once; one pass over
        (question, beginning) gives the probabilities of all tokens of all spellings that begin so.
        """
        begun = sorted({ids[:-1] for word in words for ids in word})
        # a beginning that another one goes on from needs no pass of its own
        begun = [b for b in begun if not any(o != b and o[: len(b)] == b for o in begun)]
        longest = max(map(len, begun))
        lengths = np.array([len(question) + longest for question in questions], dtype=np.int64)
        self._check_length(int(lengths.max()))
        for places in batches(lengths, self.batch_tokens):
            batch = [questions[place] for place in places]
            seen: dict[Spelling, FloatArray] = {}
            for beginning in begun:
                table = self._next_tokens(batch, beginning)
                for depth in range(len(beginning) + 1):
                    seen.setdefault(beginning[:depth], table[:, depth])
            rows = np.empty((len(batch), len(words)))
            for column, word in enumerate(words):
                whole = np.zeros((len(word), len(batch)))
                for number, ids in enumerate(word):
                    for depth, token in enumerate(ids):
                        whole[number] += seen[ids[:depth]][:, token]
                rows[:, column] = np.logaddexp.reduce(whole, axis=0)
            yield places, rows.astype(np.float32)

    def _next_tokens(self, questions: Sequence[list[int]], beginning: Spelling) -> FloatArray:
        """Log-probabilities after each question and each part of a beginning.

        Shape (questions, len(beginning) + 1, vocabulary).
        """
        import torch

        rows = [[*question, *beginning] for question in questions]
        width = max(map(len, rows))
        ids = torch.zeros(len(rows), width, dtype=torch.long)
        mask = torch.zeros_like(ids)
        for place, row in enumerate(rows):  # padded on the left, so that all end at one place
            ids[place, width - len(row) :] = torch.tensor(row)
            mask[place, width - len(row) :] = 1
        positions = (mask.cumsum(-1) - 1).clamp(min=0)
        device = self.model.device
        with torch.inference_mode():
            logits: Any = self.model(
                input_ids=ids.to(device),
                attention_mask=None if bool(mask.all()) else mask.to(device),
                position_ids=positions.to(device),
                use_cache=False,
                logits_to_keep=len(beginning) + 1,
            ).logits
            out: FloatArray = torch.log_softmax(logits.double(), dim=-1).cpu().numpy()
        if not np.isfinite(out.max(axis=-1)).all():
            raise InputError(f"model {self.name} gives probabilities that aren't numbers")
        return out

    def _check_length(self, longest: int) -> None:
        config = self.model.config.get_text_config()
        most = getattr(config, "max_position_embeddings", None)
        if most and longest > most:
            raise InputError(
                f"model {self.name} reads {most} tokens, and a question with its answer has "
                f"{longest}"
            )
