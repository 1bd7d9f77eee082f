"""Schemes whose lists hang on the device that drew them, and what a GPU would have drawn."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from statllm.estimators.watermark.marks import Scheme
from statllm.estimators.watermark.prf.kgw import Kgw
from statllm.estimators.watermark.prf.synthid import SynthId

#: Blocks of 256 threads that GPUs run at once, of which larger lists hang: processors times
#: threads per processor / 256.
BLOCKS = {
    "H100, H200": 1056,
    "A100": 864,
    "L40S": 852,
    "RTX 4090": 768,
    "V100": 640,
    "RTX 3090": 492,
    "A10": 432,
    "L4": 348,
    "T4": 160,
}


def is_device_bound(scheme: Scheme) -> bool:
    """Whether the generator's device decides the lists: those of PyTorch's own generators.

    Examples
    --------
    >>> from statllm.estimators.watermark.schemes import make_scheme
    >>> is_device_bound(make_scheme("kgw", vocabulary=9)), is_device_bound(
    ...     make_scheme("vllm-gumbel", key=1))
    (True, False)
    """
    given: Any = scheme
    if scheme.name == "synthid":
        return bool(given.flavour == "transformers")
    return scheme.name in ("kgw", "three-bricks-gumbel", "permute-flip")


def cuda_schemes(scheme: Scheme) -> Iterator[tuple[str, Scheme]]:
    """Yield the scheme with the lists of a CUDA generator, for each layout that GPUs give them.

    Of green lists with left-hash and additive seeds, and of SynthID as transformers has it.

    Examples
    --------
    >>> from statllm.estimators.watermark.schemes import make_scheme
    >>> [name for name, _ in cuda_schemes(make_scheme("kgw", vocabulary=50_257))]
    ['lists of a CUDA generator', 'lists of a CUDA generator (T4)']
    """
    from statllm.estimators.watermark.cuda_lists import CudaKgw, CudaSynthId, key_bits

    if isinstance(scheme, SynthId) and scheme.flavour == "transformers":
        for gpu, blocks in _layouts(1 << 16):
            yield (
                f"table of a CUDA generator{gpu}",
                CudaSynthId(
                    scheme.key, scheme.ngram, scheme.flavour, scheme.table_seed, scheme.leaves,
                    most_blocks=blocks,
                ),
            )  # fmt: skip
    if (
        isinstance(scheme, Kgw)
        and scheme.seeding in ("lefthash", "additive")
        and not scheme.self_salt
    ):
        narrow = (False, True) if key_bits(scheme.vocabulary) <= 32 else (False,)
        for gpu, blocks in _layouts(scheme.vocabulary):
            for old in narrow:
                version = " of older versions" if old else ""
                yield (
                    f"lists of a CUDA generator{gpu}{version}",
                    CudaKgw(scheme, blocks, old),
                )


def _layouts(n: int) -> Iterator[tuple[str, int | None]]:
    """GPUs that lay n numbers out differently from one that has a thread for each."""
    from statllm.estimators.watermark.cuda_lists import BLOCK

    yield "", None
    for gpu, blocks in BLOCKS.items():
        if n > BLOCK * blocks:
            yield f" ({gpu})", blocks
