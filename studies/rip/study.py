"""RIP on a pool of which half the prompts are spoilt: what it keeps, and what it is good for.

`python studies/rip/study.py` writes the pool, trains the arms of lab.yaml with five seeds, and
writes result.md, result.json, result.png (differences of accuracy) and kept.md (which prompts each
rule keeps, its thresholds, and what noise of the rewards does); then Self-RIP: self_rip.md and
written.md. `--quick` does it all with two seeds on few prompts.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

import numpy as np  # noqa: E402
import pyarrow as pa  # noqa: E402
from rip_shares import Share, artefact, plain, share  # noqa: E402
from self_rip import self_rip  # noqa: E402

from statllm.estimators.resampling import bootstrap_quantile  # noqa: E402
from statllm.experiment import Experiment, run_study  # noqa: E402
from statllm.experiment.report import markdown_table  # noqa: E402
from statllm.files import read_parquet, write_json, write_parquet, write_text  # noqa: E402
from statllm.generations import Generations  # noqa: E402
from statllm.lab.pool import KINDS, corrupted_pool  # noqa: E402
from statllm.lab.reward_settings import LabRewards  # noqa: E402
from statllm.lab.rewards import lab_rewards  # noqa: E402
from statllm.recipe import merge  # noqa: E402
from statllm.selection import RipSettings, rip  # noqa: E402

POOL, SHARE = 800, 0.5
NOISES = (0.0, 0.3, 0.6)
#: The short run leaves out arms that differ from one of these in a bound or a column alone.
QUICK_ARMS = ("all", "rip", "random subset", "rip turned", "sure gap", "clean only", "ifd")
MEDIANS = RipSettings(rejected_reward_quantile=0.5, rejected_length_quantile=0.5, gap_quantile=0.5)
METRICS = {
    "rejected_reward": ("min_rejected_reward", "reward"),
    "rejected_length": ("min_rejected_length", "characters"),
    "gap": ("max_gap", "reward"),
}


def kept_shares(experiment: Experiment, folder: Path, kinds: dict[str, str]) -> dict[str, Any]:
    """Which share of the kept prompts is spoilt, and which share of each kind is kept, by arm."""
    found: dict[str, Any] = {}
    for arm in experiment.arms:
        ledgers = artefact(experiment, folder, arm, "ledger.parquet")
        prompts = [p for ledger in ledgers for p in ledger["prompt_id"].to_pylist()]
        kept = np.concatenate([ledger["kept"].to_numpy().astype(bool) for ledger in ledgers])
        kind = np.array([kinds[p] for p in prompts])
        found[arm] = {
            "kept per seed": float(kept.sum() / len(ledgers)),
            "spoilt among kept": share(kept & (kind != "clean"), kept, prompts),
            **{f"of {k} kept": share(kept & (kind == k), kind == k, prompts) for k in KINDS},
        }
    return found


def by_kind(experiment: Experiment, folder: Path, kinds: dict[str, str]) -> dict[str, Any]:
    """Mean of what RIP looks at, and the pass rate, of the prompts of each kind."""
    ledgers = artefact(experiment, folder, "all", "ledger.parquet")
    rewards = artefact(experiment, folder, "all", "rewards.parquet")
    prompts = [p for ledger in ledgers for p in ledger["prompt_id"].to_pylist()]
    columns = {
        name: np.concatenate([ledger[name].to_numpy() for ledger in ledgers]) for name in METRICS
    }
    right = [
        dict(zip(found["prompt_id"].to_pylist(), found["correct"].to_pylist(), strict=True))
        for found in rewards
    ]
    columns["pass rate"] = np.array(
        [
            np.mean(found[p])
            for found, ledger in zip(right, ledgers, strict=True)
            for p in ledger["prompt_id"].to_pylist()
        ]
    )
    kind = np.array([kinds[p] for p in prompts])
    known = np.isfinite(columns["gap"])
    return {
        k: {
            name.replace("_", " "): share(
                np.where(known & (kind == k), values, 0.0), known & (kind == k), prompts
            )
            for name, values in columns.items()
        }
        for k in KINDS
    }


def thresholds(experiment: Experiment, folder: Path) -> dict[str, Any]:
    """The three medians of each seed's pool; the first seed's with bootstrap intervals."""
    found: dict[str, Any] = {}
    ledgers = artefact(experiment, folder, "all", "ledger.parquet")
    for metric, (bound, unit) in METRICS.items():
        pools = [ledger.filter(ledger["kept"])[metric].to_numpy() for ledger in ledgers]
        estimate = bootstrap_quantile(pools[0], 0.5, resamples=1999)
        interval = estimate.interval(0.95)
        medians = [float(np.median(pool)) for pool in pools]
        found[bound] = {
            "unit": unit,
            "prompts": len(pools[0]),
            "value": Share(estimate.value, interval.low, interval.high),
            "per seed": medians,
        }
    return found


def stability(experiment: Experiment, folder: Path, resamples: int = 999) -> dict[str, Any]:
    """How far the verdict on a prompt hangs on which other prompts are in the pool.

    The first seed's pool is resampled, its medians are taken anew, and applied to the pool itself.
    """
    ledger = artefact(experiment, folder, "all", "ledger.parquet")[0]
    ledger = ledger.filter(ledger["kept"])
    metrics = np.stack([ledger[name].to_numpy() for name in METRICS])

    def keeps(medians: np.ndarray) -> np.ndarray:
        kept: np.ndarray = (
            (metrics[0] >= medians[0]) & (metrics[1] >= medians[1]) & (metrics[2] <= medians[2])
        )
        return kept

    own = keeps(np.median(metrics, axis=1))
    rng, n = np.random.default_rng(0), metrics.shape[1]
    again = np.stack(
        [keeps(np.median(metrics[:, rng.integers(0, n, n)], axis=1)) for _ in range(resamples)]
    )
    low, high = np.quantile(again.sum(axis=1), (0.025, 0.975))
    changed = (again != own).mean(axis=0)
    return {
        "prompts": n,
        "kept": int(own.sum()),
        "kept, low": float(low),
        "kept, high": float(high),
        "share of kept that another pool drops": float((~again[:, own]).mean()),
        "share of prompts with another verdict in over 1 of 20 pools": float(
            (changed > 0.05).mean()
        ),
    }


def noise(experiment: Experiment, folder: Path, kinds: dict[str, str]) -> dict[str, Any]:
    """The same responses rated with more or less noise: the pairs, and what RIP keeps."""
    scored = [Generations(found) for found in artefact(experiment, folder, "all", "scores.parquet")]
    found: dict[str, Any] = {}
    for level in NOISES:
        prompts: list[str] = []
        columns: dict[str, list[Any]] = {n: [] for n in ("seen", "true", "wrong", "kept", "spoilt")}
        for seed, generations in zip(experiment.seeds, scored, strict=True):
            rated = lab_rewards(generations, LabRewards(noise=level, seed=seed))
            pairs = rip(rated).pairs.to_pylist()
            keeps = set(rip(rated, MEDIANS).pairs["prompt_id"].to_pylist())
            place = {p: i for i, p in enumerate(rated.prompt_ids)}
            seen, true = (rated.column(n).to_pylist() for n in ("reward", "true_reward"))
            for pair in pairs:
                row, best, worst = (
                    place[pair["prompt_id"]], pair["chosen_index"], pair["rejected_index"],
                )  # fmt: skip
                gap = true[row][best] - true[row][worst]
                prompts.append(pair["prompt_id"])
                columns["seen"].append(seen[row][best] - seen[row][worst])
                columns["true"].append(gap)
                columns["wrong"].append(gap <= 0)
                columns["kept"].append(pair["prompt_id"] in keeps)
                columns["spoilt"].append(kinds[pair["prompt_id"]] != "clean")
        arrays = {name: np.array(values, dtype=float) for name, values in columns.items()}
        ones, kept = np.ones(len(prompts)), arrays["kept"]
        found[f"{level:g}"] = {
            "seen gap": share(arrays["seen"], ones, prompts),
            "true gap": share(arrays["true"], ones, prompts),
            "pairs not truly better": share(arrays["wrong"], ones, prompts),
            "among kept: seen gap": share(arrays["seen"] * kept, kept, prompts),
            "among kept: true gap": share(arrays["true"] * kept, kept, prompts),
            "among kept: not truly better": share(arrays["wrong"] * kept, kept, prompts),
            "kept": share(kept, ones, prompts),
            "spoilt among kept": share(arrays["spoilt"] * kept, kept, prompts),
        }
    return found


def page(
    kept: dict[str, Any],
    kinds: dict[str, Any],
    bounds: dict[str, Any],
    stable: dict[str, Any],
    noisy: dict[str, Any],
) -> str:
    """All tables as Markdown."""
    parts = [
        "Intervals: 95 %, prompts resampled (a prompt that occurs under several seeds is one "
        "cluster).",
        "**What each rule keeps**",
    ]
    names = [name for name in next(iter(kept.values())) if name != "kept per seed"]
    rows = [
        [arm, f"{row['kept per seed']:.0f}", *(row[name] for name in names)]
        for arm, row in kept.items()
    ]
    parts.append(markdown_table(["rule", "prompts kept per seed", *names], rows))
    parts.append("**What RIP looks at, by kind of prompt** (means)")
    names = list(next(iter(kinds.values())))
    rows = [[kind, *(row[name] for name in names)] for kind, row in kinds.items()]
    parts.append(markdown_table(["kind", *names], rows))
    parts.append("**Thresholds: medians of the unfiltered pool**")
    rows = [
        [bound, row["unit"], row["prompts"], row["value"],
         f"{min(row['per seed']):.3f} to {max(row['per seed']):.3f}"]
        for bound, row in bounds.items()
    ]  # fmt: skip
    head = ["bound", "unit", "prompts", "first seed, interval", "range over seeds"]
    parts.append(markdown_table(head, rows))
    parts.append(
        f"With the medians of resampled pools, between {stable['kept, low']:.0f} and "
        f"{stable['kept, high']:.0f} prompts pass all three bounds (95 % of pools; "
        f"{stable['kept']} of {stable['prompts']} with the pool's own medians). A prompt that is "
        "kept would be dropped in "
        f"{stable['share of kept that another pool drops']:.1%} of such pools; "
        f"{stable['share of prompts with another verdict in over 1 of 20 pools']:.1%} of all "
        "prompts change sides in more than one pool of 20."
    )
    parts.append("**Noise of the rewards** (standard deviation of a response's reward)")
    names = list(next(iter(noisy.values())))
    rows = [[level, *(row[name] for name in names)] for level, row in noisy.items()]
    parts.append(markdown_table(["noise", *names], rows))
    return "\n\n".join(parts) + "\n"


def with_pool(experiment: Experiment, folder: Path) -> Experiment:
    """Write the pool, and draw the prompts from it."""
    pool = corrupted_pool(POOL, SHARE)
    # What a prompt judge without errors would say, and how much there is to do in a prompt.
    clean = [float(kind == "clean") for kind in pool["kind"].to_pylist()]
    sentences = [len(re.findall(r"[.?]", prompt)) for prompt in pool["prompt"].to_pylist()]
    pool = pool.append_column("clean", pa.array(clean))
    pool = pool.append_column("sentences", pa.array(sentences))
    write_parquet(pool, folder / "pool.parquet")
    source = {"problems": {"source": str((folder / "pool.parquet").resolve())}}
    experiment = experiment.model_copy(update={"base": merge(experiment.base, source)})
    return fewer(experiment) if experiment.is_quick else experiment


def fewer(experiment: Experiment) -> Experiment:
    """Leave out arms for the short run, and comparisons with them."""
    known = {"start", *QUICK_ARMS}
    return experiment.model_copy(
        update={
            "arms": {arm: experiment.arms[arm] for arm in QUICK_ARMS},
            "comparisons": tuple(c for c in experiment.comparisons if {c.arm, c.against} <= known),
        }
    )


def main() -> None:
    """Run the study."""
    experiment, folder = run_study(HERE / "lab.yaml", __doc__, with_pool)
    pool = read_parquet(folder / "pool.parquet")
    kinds = dict(zip(pool["prompt_id"].to_pylist(), pool["kind"].to_pylist(), strict=True))
    kept = kept_shares(experiment, folder, kinds)
    looks = by_kind(experiment, folder, kinds)
    bounds = thresholds(experiment, folder)
    stable = stability(experiment, folder)
    noisy = noise(experiment, folder, kinds)
    figures = {
        "kept": kept,
        "kinds": looks,
        "thresholds": bounds,
        "stability": stable,
        "noise": noisy,
    }
    write_json(plain(figures), folder / "kept.json")
    write_text(page(kept, looks, bounds, stable, noisy), folder / "kept.md")
    print((folder / "result.md").read_text(encoding="utf-8"))
    self_rip(experiment, folder)
    for name in ("kept", "self_rip", "written"):
        print((folder / f"{name}.md").read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
