"""The permutation that lm-watermarking's hash looks tokens up in."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

#: Entries of the table.
TABLE = 1_000_003
#: Seed of lm-watermarking's; transformers takes the key instead.
LM_SEED = 2971215073


@lru_cache(maxsize=4)
def hash_table(seed: int) -> NDArray[np.int64]:
    """Return torch.randperm(1,000,003) of PyTorch's CPU generator, shape (1000003,)."""
    from statllm.estimators.watermark.prf._mersenne import permutation

    return permutation(seed, TABLE)
