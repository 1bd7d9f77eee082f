"""What decides the samples, and how they are computed."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class SamplingSettings(BaseModel):
    """How responses are sampled.

    `n`, `temperature`, `top_p`, `max_new_tokens` and `seed` decide the texts. `batch_size` and
    `shard_size` only decide how the work is cut, as long as `dtype` is float32; see
    `statllm.sampling.sample` for what is guaranteed.

    Examples
    --------
    >>> SamplingSettings(n=4, temperature=0.7).top_p
    1.0
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    n: int = Field(default=8, ge=1, description="Samples per prompt.")
    temperature: float = Field(
        default=1.0,
        ge=0,
        allow_inf_nan=False,
        description="Divides the logits; 0 is greedy (the most probable token).",
    )
    top_p: float = Field(
        default=1.0,
        gt=0,
        le=1,
        description="Nucleus mass: the smallest set of most probable tokens (after temperature) "
        "that has at least this mass is sampled from; 1 is every token.",
    )
    max_new_tokens: int = Field(
        default=512,
        ge=1,
        description="Longest response in tokens, the end-of-sequence token included.",
    )
    seed: int = Field(
        default=0,
        ge=0,
        lt=2**63,
        description="Same seed, prompt_id and sample number: same text.",
    )
    batch_size: int = Field(
        default=512,
        ge=1,
        description="Sequences that are decoded together; less where memory is short.",
    )
    shard_size: int = Field(
        default=256, ge=1, description="Prompts per shard, which is what a restart goes on from."
    )
    dtype: Literal["float32", "bfloat16", "float16", "auto"] = Field(
        default="float32",
        description="Of weights and activations; 'auto' is the checkpoint's own. In 16 bits the "
        "texts depend on the batch.",
    )
    device: str = Field(
        default="auto", description="'auto' is CUDA where there is one, else the CPU."
    )
    near_tie: float = Field(
        default=1e-4,
        ge=0,
        lt=1,
        description="Largest error, in nats, that batching may put on a token's log-probability. "
        "A choice of token that an error of this size could change is made again on the sequence "
        "alone, so that it doesn't depend on the batch.",
    )
