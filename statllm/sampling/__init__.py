"""Where responses come from: K samples per prompt, with token ids and log-probabilities."""

from statllm.sampling.sampler import sample
from statllm.sampling.settings import SamplingSettings

__all__ = ["SamplingSettings", "sample"]
