"""Pairs that aren't trained on, evaluated between steps; the training goes on as without them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch

from statllm.training.folder import best_step
from statllm.training.settings import PreferenceSettings

if TYPE_CHECKING:
    from statllm.training.objectives import PairObjective
    from statllm.training.trainer import Trainer

#: Means over the held-out pairs; in the curve they start with ``eval_``.
_FIGURES = ("loss", "margin", "accuracy", "logp_chosen", "logp_rejected")
#: Of these with a standard error, which ends with ``_se``.
_WITH_ERROR = ("loss", "margin", "accuracy")


class HeldOut:
    """Evaluates a training's pairs from a place on, which it doesn't train on.

    Parameters
    ----------
    objective : PairObjective
        Its rows from `n_rows` on are the held-out ones.
    settings : PreferenceSettings
        Of which ``eval_every`` and ``keep_best`` count.
    """

    def __init__(self, objective: PairObjective, settings: PreferenceSettings) -> None:
        self._objective, self._settings = objective, settings
        rows = objective.sequences.rows
        self._rows = range(objective.n_rows, len(rows))
        number: dict[bytes, int] = {}
        prompts = (rows[row].prompt.tobytes() for row in self._rows)
        self._clusters = [number.setdefault(prompt, len(number)) for prompt in prompts]

    def due(self, step: int, n_steps: int) -> bool:
        """Whether one evaluates after this step."""
        every = self._settings.eval_every
        return step == n_steps or (every is not None and step % every == 0)

    def best_step(self, history: Sequence[Mapping[str, Any]]) -> int | None:
        """Step whose weights are kept, None where the last ones are."""
        best = self._settings.keep_best
        return None if best is None else best_step(history, best)

    @torch.no_grad()
    def figures(self, trainer: Trainer) -> dict[str, float]:
        """Means over the held-out pairs, with standard errors clustered by prompt.

        Raises
        ------
        RuntimeError
            If the loss isn't a number.
        """
        from statllm.estimators.comparison import mean_estimate

        found = self._values(trainer).cpu().numpy()
        result: dict[str, float] = {}
        for name, values in zip(_FIGURES, found, strict=True):
            mean = mean_estimate(values, self._clusters)
            result[f"eval_{name}"] = float(mean.value)
            if name in _WITH_ERROR:
                result[f"eval_{name}_se"] = float(mean.se)
        if not math.isfinite(result["eval_loss"]):
            raise RuntimeError(
                f"the held-out loss is {result['eval_loss']} after step {trainer.step}"
            )
        return result

    def _values(self, trainer: Trainer) -> torch.Tensor:
        """Figures of each pair, (n_figures, n_pairs), each process computing its share."""
        processes, rows = trainer.processes, list(self._rows)
        values = torch.zeros(
            (len(_FIGURES), len(rows)), dtype=torch.float64, device=processes.device
        )
        for part, counts in trainer.share(rows):
            found = trainer.losses(part, rows)
            if counts:
                places = [row - self._rows.start for row in part]
                values[:, places] = torch.stack([found[name].double() for name in _FIGURES])
        return processes.total(values)
