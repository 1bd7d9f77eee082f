"""How fast near-duplicates and leaks are found: ratios measured in one run.

    python benchmarks/deduplication.py [--texts 20000] [--words 60]

Time for all texts over that of reading the file and of hashing its bytes once; and over datasketch
(MIT) and rensa (MIT) where they are installed, with the same shingles, bands and texts. Those two
report candidates by MinHash alone; ours are verified, in clusters. A tenth of the texts are
near-duplicates of others; word frequencies follow Zipf's law.

    pip install --no-deps datasketch==2.0.0 rensa==0.5.0
"""

from __future__ import annotations

import argparse
import json
import tempfile
from functools import partial
from hashlib import blake2b
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path

import numpy as np
from timing import fastest

from statllm._formats import read_rows
from statllm.selection._minhash import banding
from statllm.selection.decontamination import decontaminate
from statllm.selection.near_duplicates import near_duplicates


def make_texts(n: int, length: int, seed: int = 0) -> list[str]:
    """Draw texts; the second half begins with copies of the first tenth, 3 words changed."""
    rng = np.random.default_rng(seed)
    vocabulary = np.array([f"w{i}" for i in range(20000)])
    weight = 1 / np.arange(1, len(vocabulary) + 1)
    words = vocabulary[rng.choice(len(vocabulary), (n, length), p=weight / weight.sum())]
    copies = slice(n // 2, n // 2 + n // 10)
    words[copies] = words[: n // 10]
    words[copies, rng.choice(length, 3, replace=False)] = "changed"
    return [" ".join(row) for row in words]


def shingles(text: str) -> list[str]:
    """Pairs of words."""
    words = text.split()
    return list({" ".join(pair) for pair in pairwise(words)})


def with_datasketch(texts: list[str]) -> None:
    """Query, then insert, text after text."""
    from datasketch import MinHash, MinHashLSH

    rows, bands = banding(0.55, 256)
    index = MinHashLSH(threshold=0.55, num_perm=256, params=(bands, rows))
    sets = [[shingle.encode() for shingle in shingles(text)] for text in texts]
    for i, sketch in enumerate(MinHash.bulk(sets, num_perm=256)):
        index.query(sketch)
        index.insert(i, sketch)


def with_rensa(texts: list[str]) -> None:
    """Query, then insert, text after text."""
    import rensa

    index = rensa.RMinHashLSH(0.55, 256, banding(0.55, 256)[1])
    for i, text in enumerate(texts):
        sketch = rensa.RMinHash(256, 0)
        sketch.update(shingles(text))
        index.query(sketch)
        index.insert(i, sketch)


def main() -> None:
    """Print a table of ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--texts", type=int, default=20000)
    parser.add_argument("--words", type=int, default=60)
    options = parser.parse_args()
    texts = make_texts(options.texts, options.words)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "texts.jsonl"
        path.write_text("".join(json.dumps({"prompt": text}) + "\n" for text in texts))
        column = read_rows(path)["prompt"]
        ways = {
            "reading": lambda: read_rows(path),
            "hashing": lambda: [blake2b(text.encode()).digest() for text in texts],
            "near_duplicates": lambda: near_duplicates(column),
            "near_duplicates, 1-word shingles": lambda: near_duplicates(column, shingle=1),
            "decontaminate, 2000 references": lambda: decontaminate(column, texts[:2000]),
        }
        for name, way in (("datasketch", with_datasketch), ("rensa", with_rensa)):
            if find_spec(name):
                ways[name] = partial(way, texts)
            else:
                print(f"{name} isn't installed, so isn't compared")
        seconds = fastest(ways, 3)
    print(f"{'':34} {'texts/s':>9} {'x reading':>10} {'x hashing':>10}")
    for name, taken in seconds.items():
        ratios = f"{taken / seconds['reading']:10.1f} {taken / seconds['hashing']:10.1f}"
        print(f"{name:34} {options.texts / taken:9.0f} {ratios}")


if __name__ == "__main__":
    main()
