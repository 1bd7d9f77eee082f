"""Watermarks: what a key leaves in a text, tests of it with valid p-values, and planning."""

from statllm.estimators.watermark.certificate import Certificate, certify
from statllm.estimators.watermark.chosen import ChosenLaw
from statllm.estimators.watermark.deduplicate import deduplicated, design_effect, effective_n
from statllm.estimators.watermark.detect import Detections, detect
from statllm.estimators.watermark.dual_power import dual_power, dual_tokens_needed
from statllm.estimators.watermark.edited import edited_law, kept_share
from statllm.estimators.watermark.efficiency import green_share, stein_tokens
from statllm.estimators.watermark.goodness_of_fit import pivot_test
from statllm.estimators.watermark.locate import Segment, locate
from statllm.estimators.watermark.marks import Marks, Null, Scheme
from statllm.estimators.watermark.mixture import mixture_share, watermarked_share
from statllm.estimators.watermark.power import green_tokens_needed, power, tokens_needed
from statllm.estimators.watermark.schemes import SCHEMES, make_scheme
from statllm.estimators.watermark.screening import Screening
from statllm.estimators.watermark.sequential import EProcess, e_process
from statllm.estimators.watermark.sequential_power import stopping_tokens
from statllm.estimators.watermark.trgof_power import trgof_power, trgof_tokens_needed
from statllm.estimators.watermark.weighted_bits_power import (
    tournament_weights,
    weighted_bits_power,
    weighted_bits_tokens_needed,
)

__all__ = [
    "SCHEMES",
    "Certificate",
    "ChosenLaw",
    "Detections",
    "EProcess",
    "Marks",
    "Null",
    "Scheme",
    "Screening",
    "Segment",
    "certify",
    "deduplicated",
    "design_effect",
    "detect",
    "dual_power",
    "dual_tokens_needed",
    "e_process",
    "edited_law",
    "effective_n",
    "green_share",
    "green_tokens_needed",
    "kept_share",
    "locate",
    "make_scheme",
    "mixture_share",
    "pivot_test",
    "power",
    "stein_tokens",
    "stopping_tokens",
    "tokens_needed",
    "tournament_weights",
    "trgof_power",
    "trgof_tokens_needed",
    "watermarked_share",
    "weighted_bits_power",
    "weighted_bits_tokens_needed",
]
