"""What else a text may have been marked with: other settings, vocabularies and devices."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from statllm.estimators.watermark.marks import Scheme
from statllm.ragged import Ragged

_VALUES: dict[str, tuple[Any, ...]] = {
    "context_width": (1, 2, 3, 4, 5, 8),
    "ngram": (3, 4, 5, 6),
    "share": (0.1, 0.25, 0.5),
    "flavour": ("transformers", "deepmind"),
}
_KGW_SEEDINGS = (
    ("lefthash", 1, "transformers"),
    ("selfhash", 4, "transformers"),
    ("selfhash", 4, "lm-watermarking"),
    ("additive", 4, "lm-watermarking"),
    ("minhash", 4, "lm-watermarking"),
    ("skipgram", 5, "lm-watermarking"),
)


@dataclass(frozen=True)
class Hypothesis:
    """A scheme and the tokens that it may be found in.

    Attributes
    ----------
    mistake : str
        What went wrong if this is what the text carries.
    name : str
        What a finding calls it; never a key.
    scheme : Scheme
    tokens : Ragged
    """

    mistake: str
    name: str
    scheme: Scheme = dataclasses.field(repr=False)
    tokens: Ragged = dataclasses.field(repr=False)


def other_settings(scheme: Scheme) -> Iterator[tuple[str, Scheme]]:
    """Yield the same key with other settings, named; those that engines have by default.

    Examples
    --------
    >>> from statllm.estimators.watermark.schemes import make_scheme
    >>> [name for name, _ in other_settings(make_scheme("vllm-gumbel", key=42))]
    ['context_width 1', 'context_width 2', 'context_width 3', 'context_width 5', 'context_width 8']
    """
    given: Any = scheme  # a frozen dataclass
    known = {f.name for f in dataclasses.fields(given) if f.init}
    if scheme.name == "kgw":
        for seeding, width, flavour in _KGW_SEEDINGS:
            if (seeding, flavour) != (given.seeding, given.flavour):
                yield (
                    f"{seeding} of {flavour}, context_width {width}",
                    dataclasses.replace(
                        given, seeding=seeding, context_width=width, flavour=flavour,
                        self_salt=False,
                    ),
                )  # fmt: skip
    for option, values in _VALUES.items():
        if option not in known or (scheme.name == "kgw" and option == "flavour"):
            continue
        if given.name == "kgw" and option == "context_width" and given.seeding == "lefthash":
            continue  # left-hash reads the last token, whatever the width
        for value in values:
            if value != getattr(given, option):
                try:
                    yield f"{option} {value}", dataclasses.replace(given, **{option: value})
                except ValueError:  # a share that leaves no green token
                    continue


def other_vocabularies(scheme: Scheme, sizes: Iterable[int]) -> Iterator[tuple[str, Scheme]]:
    """Yield the scheme over vocabularies of other sizes, where its lists hang on the size.

    Examples
    --------
    >>> from statllm.estimators.watermark.schemes import make_scheme
    >>> [name for name, _ in other_vocabularies(make_scheme("kgw", vocabulary=100), [100, 128])]
    ['vocabulary 128']
    """
    given: Any = scheme
    if "vocabulary" not in {f.name for f in dataclasses.fields(given)}:
        return
    for size in dict.fromkeys(sizes):
        if size != given.vocabulary and size >= 2:
            yield f"vocabulary {size}", dataclasses.replace(given, vocabulary=size)


def padded_sizes(size: int) -> list[int]:
    """Return a vocabulary's size and what models pad it to.

    Examples
    --------
    >>> padded_sizes(32001)
    [32001, 32008, 32064, 32128, 32256]
    """
    rounded = (-(-size // step) * step for step in (1, 8, 64, 128, 256))
    return list(dict.fromkeys(rounded))
