"""How fast served Gumbel watermarks are detected: ratios measured in one run.

    python benchmarks/watermark_gumbel.py [--documents 2000] [--tokens 500] [--peers FOLDER]

Reading the marks, deduplication and p-values of vLLM's and SGLang's watermarks, one key and two,
in tokens per second of one thread; against the detectors of vLLM and SGLang on fewer documents
(they take one at a time). The peers' own files are enough, unpacked from their wheels into
FOLDER/vllm and FOLDER/sglang; what they import from the rest is a stand-in.

    pip download --no-deps vllm==0.33.0 sglang==0.5.23 && unzip ... "vllm/v1/watermarking/*" \
        "vllm/config/watermarking.py" "sglang/srt/sampling/watermarking/*"; pip install msgspec
"""

from __future__ import annotations

import argparse
import importlib
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from timing import medians

from statllm.estimators.watermark.detect import detect
from statllm.estimators.watermark.prf.sglang_gumbel import SglangGumbel
from statllm.estimators.watermark.prf.vllm_gumbel import VllmDualGumbel, VllmGumbel
from statllm.ragged import Ragged

KEY, KEY_B = 0x0123456789ABCDEF, 0x0FEDCBA987654321
PEER_DOCUMENTS = 40
#: Tokens per second where vLLM can't be imported: measured elsewhere, other processor.
PUBLISHED = {"vLLM 0.33, one key": 66_600, "vLLM 0.33, two keys": 39_600}


def draw_documents(documents: int, tokens: int, seed: int = 0) -> Ragged:
    """Draw words as frequent as in a language, of a vocabulary of 128,000."""
    rng = np.random.default_rng(seed)
    ids = rng.zipf(1.2, documents * tokens).astype(np.int64) % 128_000
    return Ragged.from_lengths(ids, [tokens] * documents)


def vllm_detectors(folder: Path) -> dict[str, Any]:
    """vLLM's detectors by name."""
    _enter("vllm", folder)
    _stand_in("vllm.config.utils", config=lambda settings: settings)
    _stand_in("vllm.logger", init_logger=lambda name: None)
    for name in ("vllm.v1.worker", "vllm.v1.worker.gpu", "vllm.v1.worker.gpu.sample"):
        _stand_in(name, __path__=[])
    _stand_in("vllm.v1.worker.gpu.sample.gumbel", gumbel_sample=None)
    found = importlib.import_module("vllm.v1.watermarking.gumbel")
    return {
        "vLLM 0.33, one key": found.GumbelWatermarkDetector(key=KEY).detect,
        "vLLM 0.33, two keys": found.DualKeyGumbelWatermarkDetector(key=KEY).detect,
    }


def sglang_detectors(folder: Path) -> dict[str, Any]:
    """SGLang's detectors by name."""
    _enter("sglang", folder)
    for name in ("sglang.srt", "sglang.srt.sampling"):
        _stand_in(name, __path__=[str(folder / name.replace(".", "/"))])
    found = importlib.import_module("sglang.srt.sampling.watermarking.detector")
    two = {"key_b": f"{KEY_B:x}"}
    return {
        "SGLang 0.5.23, one key": found.WatermarkDetector(f"{KEY:x}").detect_tokens,
        "SGLang 0.5.23, two keys": found.WatermarkDetector(f"{KEY:x}", **two).detect_tokens,
    }


def _enter(top: str, folder: Path) -> None:
    if not (folder / top).is_dir():
        raise ImportError(f"there is no {folder / top}")
    _stand_in(top, __path__=[str(folder / top)])
    if top == "vllm":
        for part in ("config", "v1"):
            _stand_in(f"vllm.{part}", __path__=[str(folder / "vllm" / part)])


def _stand_in(name: str, **parts: object) -> None:
    module = ModuleType(name)
    module.__dict__.update(parts)
    sys.modules[name] = module


def main() -> None:
    """Run all contenders in turns."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--documents", type=int, default=2000)
    parser.add_argument("--tokens", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--peers", type=Path, default=Path("peers"))
    options = parser.parse_args()
    corpus = draw_documents(options.documents, options.tokens)
    few = corpus.values.reshape(-1, options.tokens)[:PEER_DOCUMENTS].tolist()
    schemes = {
        "statllm vllm-gumbel": VllmGumbel(KEY),
        "statllm vllm-dual-gumbel": VllmDualGumbel(KEY),
        "statllm sglang-gumbel": SglangGumbel(KEY),
        "statllm sglang-gumbel, two keys": SglangGumbel(KEY, KEY_B),
    }
    contenders: dict[str, Any] = {
        name: (lambda scheme=scheme: detect(scheme.marks(corpus)))
        for name, scheme in schemes.items()
    }
    size = dict.fromkeys(contenders, options.documents * options.tokens)
    for load in (vllm_detectors, sglang_detectors):
        try:
            peers = load(options.peers)
        except ImportError as error:
            print(f"not compared: {error}")
            continue
        for name, one in peers.items():
            contenders[name] = lambda one=one: [one(document) for document in few]
            size[name] = len(few) * options.tokens
    for run in contenders.values():  # compilation isn't timed
        run()
    seconds = medians(contenders, options.rounds)
    print(f"{options.documents:,} documents x {options.tokens} tokens, tokens per second")
    for name, taken in seconds.items():
        print(f"  {name:<34}{size[name] / taken:14,.0f}")
    for name, rate in PUBLISHED.items():
        if name not in seconds:
            print(f"  {name:<34}{rate:14,.0f}  published figure, not of this run")


if __name__ == "__main__":
    main()
