"""Options of every scheme: those of a wrong type are named, and never shown."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from statllm.estimators.watermark.prf.key_sequence import KeySequence
from statllm.estimators.watermark.prf.synthid import SynthId
from statllm.estimators.watermark.prf.textseal import TextSealGumbel
from statllm.estimators.watermark.schemes import SCHEMES, scheme_class
from statllm.ragged import Ragged

_WRONG: dict[str, list[Any]] = {
    "int": [1.5, "987654321", None, True, float("nan")],
    "float": ["987654321", None, True, float("nan"), float("inf")],
    "bool": [1, "no", None],
}


def cases() -> list[Any]:
    found = []
    for kind in (*(scheme_class(name) for name in SCHEMES), KeySequence):
        names = {f.name for f in dataclasses.fields(kind)}
        needed = {"key": (5, 6) if kind is SynthId else 5}
        needed |= {"vocabulary": 100} if "vocabulary" in names else {}
        for option in dataclasses.fields(kind):
            if option.name in ("key", "key_b", "start"):
                continue
            for value in _WRONG.get(str(option.type), []):
                name = f"{kind.__name__}-{option.name}-{value}"
                found.append(
                    pytest.param(kind, needed | {option.name: value}, option.name, id=name)
                )
    return found


@pytest.mark.parametrize(("kind", "options", "named"), cases())
def test_a_wrong_type_is_named_and_not_shown(
    kind: Any, options: dict[str, Any], named: str
) -> None:
    with pytest.raises(ValueError, match=f"^{named} must be ") as caught:
        kind(**options)
    assert "987654321" not in str(caught.value)


def test_whole_numbers_of_numpy_and_whole_floats_of_shares_pass() -> None:
    assert KeySequence(vocabulary=np.int64(100), key=5).vocabulary == 100
    assert TextSealGumbel(key=5, key_b=6, mixing_alpha=np.float64(0.25)).mixing_alpha == 0.25


def test_a_layer_whose_key_is_another_ones_is_no_second_witness() -> None:
    """Three equal keys draw the same bits: one fair bit a token, not three."""
    tokens = Ragged.from_lists([list(range(100))], np.int64)
    for flavour, twice in (("transformers", (7, 7 + 65536, 7)), ("deepmind", (7, 7))):
        one = SynthId(key=(7,), flavour=flavour).marks(tokens)  # type: ignore[arg-type]
        many = SynthId(key=twice, flavour=flavour).marks(tokens)  # type: ignore[arg-type]
        assert many.null.depth == one.null.depth == 1
        if flavour == "transformers":  # DeepMind's hash begins with all keys
            assert np.array_equal(many.values, one.values)
    far = SynthId(key=(7, 7 + 65536), flavour="deepmind").marks(tokens)
    assert far.null.depth == 2
    assert not np.array_equal(far.values[:, 0], far.values[:, 1])


def test_two_keys_of_textseal_are_two() -> None:
    with pytest.raises(ValueError, match="key_b must differ from key"):
        TextSealGumbel(key=5, key_b=5)
