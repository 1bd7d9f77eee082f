"""Circuits: are a few attention heads enough for a sum, and are all of them needed?"""

from __future__ import annotations

from itertools import islice
from typing import Any

import numpy as np
from common import Page, Setup, figure_to, run

from statllm.estimators.circuits import (
    circuit_equivalence,
    circuit_independence,
    circuit_minimality,
    circuit_necessity,
    circuit_sufficiency,
)
from statllm.estimators.comparison import mean_estimate
from statllm.experiment.report import markdown_table
from statllm.lab import careful_solution, generate, model_path
from statllm.results import format_p
from statllm.scoring.token_laws import encoded

FAITHFUL = 0.98


class Heads:
    """The lab model, of which heads can be replaced by their mean output over tokens.

    Parameters
    ----------
    n : int
        Problems, each with the first step of its solution up to the equals sign.
    seed : int
        Of the problems.
    """

    def __init__(self, n: int, seed: int) -> None:
        import torch

        from statllm.models import load_model, load_tokenizer

        self.torch = torch
        self.model = load_model(model_path(), device="cpu").eval()
        tokenizer = load_tokenizer(model_path())
        before, after = [], []
        for problem in islice(generate("test", seed=seed), n):
            step, rest = careful_solution(problem).split(" = ", 1)
            before.append(f"{problem.prompt}{step} =")
            after.append(f" {rest.split('.')[0]}.")
        head, tail = encoded(tokenizer, before), encoded(tokenizer, after)
        longest = int((head.lengths + tail.lengths).max())
        ids, self.target = np.zeros((n, longest), np.int64), np.zeros((n, longest), bool)
        self.filled = np.zeros((n, longest), bool)
        for i in range(n):
            row = [*head.row(i).tolist(), *tail.row(i).tolist()]
            ids[i, : len(row)], self.filled[i, : len(row)] = row, True
            self.target[i, len(head.row(i)) : len(row)] = True
        self.ids = torch.from_numpy(ids)
        config = self.model.config
        self.shape = (int(config.num_hidden_layers), int(config.num_attention_heads))
        self.width = int(config.head_dim)
        self.kept = np.ones(self.shape, bool)
        self.mean: Any = None
        self._seen: list[Any] = []
        for layer, block in enumerate(self.model.model.layers):
            block.self_attn.o_proj.register_forward_pre_hook(self._hook(layer))
        self.score(self.kept)
        self.mean = torch.stack(
            [states[torch.from_numpy(self.filled)].mean(0) for states in self._seen]
        )
        self._seen = []

    def _hook(self, layer: int) -> Any:
        def hook(_: Any, given: Any) -> Any:
            states = given[0]
            if self.mean is None:
                self._seen.append(states.detach())
                return None
            gone = self.torch.from_numpy(np.repeat(~self.kept[layer], self.width))
            return (self.torch.where(gone, self.mean[layer], states),)

        return hook

    def score(self, kept: np.ndarray) -> np.ndarray:
        """Log-probability of the right result by problem, nats, with these heads alone."""
        self.kept = kept
        torch = self.torch
        with torch.no_grad():
            logits = self.model(input_ids=self.ids).logits[:, :-1].log_softmax(-1)
        own = logits.gather(2, self.ids[:, 1:, None])[..., 0].numpy().astype(np.float64)
        found: np.ndarray = (own * self.target[:, 1:]).sum(axis=1)
        return found


def flat(shape: tuple[int, int], members: Any) -> np.ndarray:
    """A mask of heads from their numbers."""
    kept = np.zeros(shape[0] * shape[1], bool)
    kept[np.asarray(members, dtype=int)] = True
    return kept.reshape(shape)


def discover(heads: Heads) -> tuple[list[int], np.ndarray]:
    """Heads in the order of what their knock-out costs, until enough of the score is there."""
    every = np.arange(heads.shape[0] * heads.shape[1])
    whole = heads.score(flat(heads.shape, every)).mean()
    nothing = heads.score(flat(heads.shape, [])).mean()
    cost = np.array(
        [whole - heads.score(flat(heads.shape, np.delete(every, h))).mean() for h in every]
    )
    order = np.argsort(-cost)
    for size in range(1, len(order)):
        reached = heads.score(flat(heads.shape, order[:size])).mean()
        if reached - nothing >= FAITHFUL * (whole - nothing):
            break
    return sorted(order[:size].tolist()), cost.reshape(heads.shape)


def make(setup: Setup) -> Page:
    """Find a circuit on some problems and test it on others."""
    draws = setup.pick(80, 25)
    n_found = setup.pick(100, 30)
    circuit, cost = discover(Heads(n_found, seed=31))
    heads = Heads(setup.pick(100, 30), seed=32)
    every, rng = np.arange(cost.size), np.random.default_rng(0)
    outside = np.setdiff1d(every, circuit)

    def score(members: Any) -> np.ndarray:
        return heads.score(flat(heads.shape, members))

    def without(members: Any) -> np.ndarray:
        return score(np.setdiff1d(every, members))

    whole, own = score(every), score(circuit)
    knocked = without(circuit)
    sets = [rng.choice(every, len(circuit), replace=False) for _ in range(draws)]
    random_scores = np.array([score(some).mean() for some in sets])
    random_costs = np.array([(whole - without(some)).mean() for some in sets])
    extra = []
    for _ in range(draws):
        added = rng.permutation(outside)[: rng.integers(1, len(outside) + 1)]
        inflated = np.union1d(circuit, added)
        extra.append(score(inflated).mean() - score(np.setdiff1d(inflated, added[:1])).mean())
    needed = circuit_minimality(
        [own.mean() - score(np.setdiff1d(circuit, [h])).mean() for h in circuit], extra
    )
    tests = {
        "sufficient: better than 90 % of random circuits of its size": circuit_sufficiency(
            own.mean(), random_scores
        ),
        "necessary: its loss costs more than that of 90 % of them": circuit_necessity(
            (whole - knocked).mean(), random_costs
        ),
        "differs from the whole model (H0: wins 40 to 60 %)": circuit_equivalence(own, whole),
        "is equivalent (H0: it isn't)": circuit_equivalence(own, whole, equivalent=True),
        "something outside still does the task (H0: no)": circuit_independence(knocked, whole),
    }
    with figure_to(setup, "circuits") as axes:
        axes.hist(random_scores, bins=20, color="#56B4E9", label="random circuits of its size")
        for value, name, colour in (
            (own.mean(), "the circuit", "#D55E00"),
            (whole.mean(), "the whole model", "#333333"),
            (knocked.mean(), "all but the circuit", "#CC79A7"),
        ):
            axes.axvline(value, color=colour, label=name)
        axes.set_xlabel("mean log-probability of the right result, nats")
        axes.set_ylabel("circuits")
        axes.set_ylim(top=1.6 * axes.get_ylim()[1])
        axes.legend(frameon=False, loc="upper left", ncols=2)
    names = [f"{h // heads.shape[1]}.{h % heads.shape[1]}" for h in circuit]
    rows = [[name, f"{test.statistic:.3f}", format_p(test.log_p_value)]
            for name, test in tests.items()]  # fmt: skip
    gone = [name for name, found in zip(names, needed.needed(), strict=True) if found]
    first, second = list(tests.values())[:2]
    own_mean, whole_mean, rest = (mean_estimate(x, unit="nats") for x in (own, whole, knocked))

    def said(estimate: Any) -> str:
        return f"{estimate.value:.2f} {estimate.interval(0.95):.2f}"

    return Page(
        stem="circuits",
        title="Circuits: do a few attention heads do the sum?",
        finding=f"{len(circuit)} of {cost.size} heads give the right result {said(own_mean)} nats, "
        f"the whole model {said(whole_mean)}; sufficiency p {format_p(first.log_p_value)}, "
        f"necessity p {format_p(second.log_p_value)}, and "
        f"{len(gone)} of the {len(circuit)} heads are shown to be needed.",
        question="Somebody shows a part of a network and says: this does the task. Is the part "
        "better than a random one, is it needed, and is each of its pieces?",
        formula="Each hypothesis is a binomial test. Sufficiency: of R random circuits of the same "
        "size, the number that is less faithful, against Binomial(R, .9). Necessity: the same with "
        "the loss when the circuit is knocked out. Minimality: each head's loss against that of "
        "heads that were added at random (Holm). Equivalence: the share q of inputs on which the "
        "circuit scores higher, H0 |q − 1/2| < .1. Independence: HSIC of the scores without the "
        "circuit and the model's.",
        done=f"Task: after 'First 27 - 11 =', the log-probability of the right result. A head is "
        f"knocked out by its mean output over tokens. On {n_found} problems heads "
        f"are ranked by what their knock-out costs, and taken until {FAITHFUL:.0%} of the score is "
        f"there; all tests are on {len(whole)} other problems, with {draws} random circuits.",
        result=f"The circuit is {', '.join(names)} (layer.head, from 0). Without it the score is "
        f"{said(rest)} nats.\n\n" + markdown_table(["hypothesis", "statistic", "p"], rows)
        + f"\n\nShown to be needed (5 %, over heads): {', '.join(gone) or 'none'}.",
        sure="Problems are new ones; random circuits are drawn with replacement from the few "
        f"hundred that there are. Only {len(outside)} heads are outside, so the heads that were "
        "added for minimality come again in other company, and its p-values are as good as that. "
        "Multilayer perceptrons are never knocked out.",
        tools="`statllm.estimators.circuits`.",
        source="The survey's 4.4 (arXiv 2502.17814); Shi et al. 2024 (arXiv 2410.13032). Their "
        "released equivalence test takes the mean difference of scores where the proportion is "
        "meant; here it is the proportion.",
        alt="Scores of random circuits, of the circuit, of the whole model and of the rest",
        figures={"circuit": names, "needed": gone, "cost": cost.tolist(),
                 "tests": {k: {"statistic": t.statistic, "log_p": t.log_p_value}
                           for k, t in tests.items()},
                 "scores": {"circuit": own_mean.to_dict(), "whole": whole_mean.to_dict(),
                            "rest": rest.to_dict()}},
    )  # fmt: skip


if __name__ == "__main__":
    run(make, __doc__ or "")
