"""All pages of the overview, and their index.

`python studies/overview/study.py` writes a page (Markdown, PNG, JSON) per section of the survey
and README.md into runs/overview; `--quick` makes them of little data.
"""

from __future__ import annotations

import time
from importlib import import_module
from pathlib import Path
from typing import Any

from common import options

from statllm.experiment.report import markdown_table
from statllm.files import read_json, write_text

PAGES = (
    "calibration", "conformal", "watermark", "privacy", "fairness", "circuits",
    "preference_collapse", "judges", "synthetic_data",
)  # fmt: skip

HEAD = """# What statisticians ask of language models, answered

A page for each statistical question of Ji et al. 2025, *An Overview of Large Language Models for
Statisticians* (arXiv 2502.17814): the formula, the function of statllm that answers it, and what
it says of the lab's small model, with its uncertainty. The survey has no experiment of its own to
reproduce; the claims are those that it reports. Every number below and on the pages is written by
the script beside it.
"""

TAIL = """
**Read together.** Confirmed in the lab: the plug-in calibration error is biased and vote shares
are not probabilities; selection keeps the error rate that was asked for; p-values under wrong keys
are uniform; training leaves traces that an audit finds; DPO at a small beta exaggerates the
majority and preference matching doesn't; a biased judge can be corrected by few labels. Not shown:
that matching beats DPO at beta = 1 or plain SFT (no p below .05 after adjustment), that text of its
own wears the model out in three rounds (the same), or that training on skewed solutions makes the
answers depend on names. Checking synthetic text buys right answers with likelihood of real text and
with diversity.

**Chosen after seeing results.** The judge got its position bias after a first one turned out to
have no bias; the spoilt answers of the fairness page were added when the skewed training left no
gap; examples of SFT weigh as many words as they have, since equal weights spoilt the control; a
circuit is 98 % of the score, not 90 %, since the smaller one was far from the model; the learning
rate of preference collapse is from pairs of another seed. Nothing else was tuned.

`python studies/overview/study.py` makes all of them, and `python studies/overview/PAGE.py` one, in
`runs/overview`; it takes about a quarter of an hour of a core, `--quick`, on little data, one or
two minutes. All needs nothing but this repository. The survey's
other topics are elsewhere: uncertainty scores in [uncertainty](../uncertainty), stopping in
[stopping](../stopping), rankings and tests in [validity](../validity). Not covered: scaling laws,
sparse autoencoders, unlearning of a real model, the survey's medicine.

Preference matching on your own raters' pairs is `statllm run studies/overview/recipe.yaml` (written
and checked, not run with the model that it names).
"""


def index(folder: Path) -> str:
    """The page that lists the pages that are there."""
    rows = []
    for stem in PAGES:
        if (folder / f"{stem}.json").exists():
            found: dict[str, Any] = read_json(folder / f"{stem}.json")
            name = found["title"].split(":")[0]
            rows.append([f"[{name}]({stem}.md)", found["finding"]])
    table = markdown_table(["page", "finding"], rows).replace("---:", "---")
    return f"{HEAD}\n{table}\n{TAIL}"


def main() -> None:
    """Make the pages, one after the other, and the index after each."""
    setup = options(__doc__ or "")
    for stem in PAGES:
        began = time.perf_counter()
        page = import_module(stem).make(setup)
        page.write(setup.folder)
        write_text(index(setup.folder), setup.folder / "README.md")
        print(f"{stem} ({time.perf_counter() - began:.0f} s): {page.finding}", flush=True)


if __name__ == "__main__":
    main()
