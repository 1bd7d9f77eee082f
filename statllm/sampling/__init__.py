"""Where responses come from: K samples per prompt, with token ids and log-probabilities."""

from statllm.sampling.extra import ExtraSampling, with_extra
from statllm.sampling.sampler import sample
from statllm.sampling.settings import SamplingSettings

__all__ = ["ExtraSampling", "SamplingSettings", "sample", "with_extra"]
