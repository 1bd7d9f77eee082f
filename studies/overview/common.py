"""What the pages share: samples of the lab model, log-probabilities, and how a page is written."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow as pa

from statllm.files import atomic, write_json, write_text
from statllm.generations import Generations
from statllm.ragged import Ragged
from statllm.results import Estimate
from statllm.scoring.token_laws import encoded, token_log_p


@dataclass(frozen=True)
class Setup:
    """Where a page goes, and whether it is made of little data."""

    folder: Path
    quick: bool = False

    def pick(self, full: Any, quick: Any) -> Any:
        """One of two sizes."""
        return quick if self.quick else full


@dataclass(frozen=True)
class Page:
    """One page; all numbers in it come from the script that made it.

    Attributes
    ----------
    stem : str
        Of the files' names.
    title, finding, question, formula, done, result, sure, tools, source : str
        Markdown. `finding` is one line, which the index shows.
    figures : dict
        The numbers, for the JSON beside the page.
    alt : str
        What the figure shows.
    """

    stem: str
    title: str
    finding: str
    question: str
    formula: str
    done: str
    result: str
    sure: str
    tools: str
    source: str
    alt: str
    figures: dict[str, Any] = field(default_factory=dict)

    @property
    def text(self) -> str:
        """The page."""
        parts = [
            f"# {self.title}",
            f"**{self.finding}**",
            f"**The question.** {self.question}",
            f"**The formula.** {self.formula}",
            f"**What is done.** {self.done}",
            f"**What came out.** {self.result}",
            f"![{self.alt}]({self.stem}.png)",
            f"**How sure.** {self.sure}",
            f"**In statllm.** {self.tools}",
            f"**Source.** {self.source}",
            f"Written by `{self.stem}.py`; [all pages](README.md).",
        ]
        return "\n\n".join(parts) + "\n"

    def write(self, folder: Path) -> None:
        """Write the text and the numbers."""
        figures = {"title": self.title, "finding": self.finding, **self.figures}
        write_json(figures, folder / f"{self.stem}.json")
        write_text(self.text, folder / f"{self.stem}.md")


def run(make: Callable[[Setup], Page], description: str) -> None:
    """Make one page from the command line."""
    setup = options(description)
    page = make(setup)
    page.write(setup.folder)
    print(page.text)


def options(description: str) -> Setup:
    """Read ``--quick`` and ``--output``."""
    import torch

    parser = argparse.ArgumentParser(description=description.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="Little data, few seeds.")
    parser.add_argument("-o", "--output", type=Path, default=Path("runs/overview"), help="Folder.")
    given = parser.parse_args()
    given.output.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)  # threads that wait for each other cost a tiny model more
    return Setup(given.output, given.quick)


def shown(estimate: Estimate, digits: int = 3) -> str:
    """A value and its 95 % interval."""
    return f"{estimate.value:.{digits}f} {estimate.interval(0.95):.{digits}f}"


@contextmanager
def figure_to(
    setup: Setup, stem: str, size: tuple[float, float] = (6.4, 3.6), rows: int = 1
) -> Iterator[Any]:
    """Axes that are saved as the page's figure."""
    from statllm.report.drawing import new_figure

    with new_figure(rows=rows, size=size) as (figure, axes):
        yield axes
        if rows > 1:
            figure.subplots_adjust(hspace=0.5)
        with atomic(setup.folder / f"{stem}.png") as temporary:
            figure.savefig(temporary, format="png", dpi=130, bbox_inches="tight")


@lru_cache(maxsize=4)
def lab_samples(n_problems: int, n: int, temperature: float = 1.0, seed: int = 0) -> Generations:
    """Responses of the lab model to held-out problems, with verdicts and votes."""
    from statllm.lab import model_path, problems

    return asked(model_path(), problems("test", n_problems, seed=5), n, temperature, seed)


def asked(
    model: str | Path, prompts: pa.Table, n: int = 1, temperature: float = 0.0, seed: int = 0
) -> Generations:
    """Responses of a model, with verdicts and votes."""
    from statllm.sampling import SamplingSettings, sample
    from statllm.scoring import score

    settings = SamplingSettings(
        n=n, temperature=temperature, max_new_tokens=80, batch_size=512, seed=seed
    )
    return score(Generations(sample(model, prompts, settings, progress=False)))


def verdicts(scored: Generations) -> np.ndarray:
    """Right or wrong, shape (n_prompts, n); no answer is wrong."""
    rows = scored.column("correct").to_pylist()
    return np.array([[bool(one) for one in row] for row in rows], dtype=float)


def column(scored: Generations, name: str) -> np.ndarray:
    """A number per prompt; null is NaN."""
    values = scored.column(name).to_pylist()
    return np.array([np.nan if v is None else float(v) for v in values])


def response_log_p(
    model: str | Path, prompts: Sequence[str], responses: Sequence[str], end: bool = True
) -> Ragged:
    """Log-probability of each token of the responses, the end-of-sequence token included, nats.

    In the lab, every newline is a token, so prompt and response don't merge.
    """
    from statllm.models import load_model, load_tokenizer

    tokenizer = load_tokenizer(model)
    before, after = encoded(tokenizer, prompts), encoded(tokenizer, responses)
    tail = [int(tokenizer.eos_token_id)] if end else []
    texts = [[*before.row(i).tolist(), *after.row(i).tolist(), *tail] for i in range(before.n_rows)]
    found = token_log_p(load_model(model, device="cpu"), Ragged.from_lists(texts, np.int64))
    keep = np.concatenate(
        [np.arange(n - 1) >= m - 1 for n, m in zip(map(len, texts), before.lengths, strict=True)]
    )
    return found.keep(keep)


def examples(prompts: Sequence[str], responses: Sequence[str]) -> pa.Table:
    """Examples for SFT that weigh as much as they have words.

    With one weight for all, short hasty answers would count far more than in the lab model's
    pretraining, and training on its own law would cost it a third of its right answers.
    """
    words = np.array([len(text.split()) for text in responses], dtype=float)
    return pa.table(
        {"prompt": list(prompts), "response": list(responses), "weight": words / words.mean()}
    )


@contextmanager
def fine_tuned(
    prompts: Sequence[str],
    responses: Sequence[str],
    start: str | Path | None = None,
    **settings: Any,
) -> Iterator[Path]:
    """A model trained on responses, in a folder that is gone afterwards."""
    from statllm.lab import model_path
    from statllm.training import SFTSettings, train_sft

    chosen = {"batch_size": 16, "lr_scheduler": "cosine", "warmup_steps": 4,
              "checkpoint_every": None, **settings}  # fmt: skip
    with TemporaryDirectory() as folder:
        out = Path(folder) / "model"
        data = examples(prompts, responses)
        train_sft(start or model_path(), data, out, SFTSettings(**chosen), progress=False)
        yield out
