"""Watermarks: what a key leaves in a text, tests of it with valid p-values, and planning."""

from statllm.estimators.watermark.certificate import Certificate, certify
from statllm.estimators.watermark.chosen import ChosenLaw
from statllm.estimators.watermark.deduplicate import deduplicated, design_effect, effective_n
from statllm.estimators.watermark.detect import Detections, detect
from statllm.estimators.watermark.efficiency import green_share, stein_tokens
from statllm.estimators.watermark.goodness_of_fit import pivot_test
from statllm.estimators.watermark.locate import Segment, locate
from statllm.estimators.watermark.marks import Marks, Null, Scheme
from statllm.estimators.watermark.mixture import mixture_share, watermarked_share
from statllm.estimators.watermark.power import green_tokens_needed, power, tokens_needed
from statllm.estimators.watermark.schemes import SCHEMES, make_scheme
from statllm.estimators.watermark.sequential import EProcess, e_process

__all__ = [
    "SCHEMES",
    "Certificate",
    "ChosenLaw",
    "Detections",
    "EProcess",
    "Marks",
    "Null",
    "Scheme",
    "Segment",
    "certify",
    "deduplicated",
    "design_effect",
    "detect",
    "e_process",
    "effective_n",
    "green_share",
    "green_tokens_needed",
    "locate",
    "make_scheme",
    "mixture_share",
    "pivot_test",
    "power",
    "stein_tokens",
    "tokens_needed",
    "watermarked_share",
]
