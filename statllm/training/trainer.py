"""The training loop: optimizer batches, cut into what fits through the model together."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from statllm.files import atomic_folder, read_json, write_json
from statllm.training.distributed import TO_GO_ON, Processes, processes
from statllm.training.folder import STATE_FILE, STEP
from statllm.training.optimizer import make_optimizer
from statllm.training.schedule import kept_steps, learning_rate
from statllm.training.settings import TrainingSettings
from statllm.training.throughput import Meter
from statllm.training.weights import save_weights, writing

if TYPE_CHECKING:
    from statllm.training.callbacks import Callbacks
    from statllm.training.held_out import HeldOut

_PARTS = ".parts.tmp"  # what all processes write before one renames it

OnStep = Callable[[int, int, Mapping[str, float]], None]


def silent(step: int, of: int, figures: Mapping[str, float]) -> None:
    """Say nothing of a step."""


class Objective(Protocol):
    """What a model is trained for: rows, how they go together, and their losses."""

    n_rows: int

    def module(self, model: Any) -> torch.nn.Module:
        """Return a module with the model as ``model``, and all that the losses take from it.

        Several processes exchange gradients of what is used inside of a call.
        """
        ...

    def bins(self, rows: Sequence[int]) -> list[list[int]]:
        """Divide rows into those that go through the model together, each into one."""
        ...

    def tokens(self, rows: Sequence[int]) -> int:
        """Return how many positions the model computes for these rows."""
        ...

    def losses(
        self, module: torch.nn.Module, rows: Sequence[int], batch: Sequence[int], step: int
    ) -> dict[str, Tensor]:
        """Return ``loss`` and what else the curve shows, each of shape (n_rows,).

        An optimizer step follows the gradient of ``Σ loss / B`` over the B rows of `batch`, of
        which `rows` are a part.
        """
        ...


class Trainer:
    """Minimises the mean loss of the rows, optimizer batch by optimizer batch.

    The gradient of a step is ``Σ_i ∇ loss_i / B`` with B the rows that the step really has (the
    last one of an epoch may be short): what goes through the model together, and on which
    process, can't change the result beyond rounding. The order of the rows is a function of seed
    and epoch, and nothing else is random, so weights, optimizer and the number of the step are
    all that a checkpoint needs.

    Parameters
    ----------
    model : PreTrainedModel
        Trained in place.
    objective : Objective
    settings : TrainingSettings
    folder : Path
        For checkpoints ``step_<n>``, each whole or absent; the latest is kept, and the weights of
        others where the settings ask for them.
    held_out : HeldOut, optional
        What is evaluated between steps.
    callbacks : Callbacks, optional
        Of transformers.
    on_step : callable
        Told the step, the number of steps, and the figures of each step as they become known.
    """

    def __init__(
        self,
        model: Any,
        objective: Objective,
        settings: TrainingSettings,
        folder: Path,
        *,
        held_out: HeldOut | None = None,
        callbacks: Callbacks | None = None,
        on_step: OnStep = silent,
    ) -> None:
        self.model, self.objective, self.settings, self.folder = model, objective, settings, folder
        self.processes: Processes = processes()
        self.steps_per_epoch = -(-objective.n_rows // settings.batch_size)
        self.n_steps = settings.max_steps or self.steps_per_epoch * settings.epochs
        self._kept = set(kept_steps(settings, self.steps_per_epoch, self.n_steps))
        self.step = 0
        self.history: list[dict[str, float]] = []
        self.meter = Meter(model, self.processes.device)
        self._pending: list[tuple[dict[str, float], dict[str, Tensor]]] = []
        self._held_out, self._callbacks, self._on_step = held_out, callbacks, on_step
        if settings.gradient_checkpointing:
            model.gradient_checkpointing_enable({"use_reentrant": False})
        model.train()
        module = objective.module(model).to(self.processes.device)
        self.module, self.optimizer = self.processes.prepare(
            module, make_optimizer(module, settings)
        )

    def batch(self, step: int) -> NDArray[np.int64]:
        """Rows of an optimizer step, in the order of the epoch's permutation."""
        size, n = self.settings.batch_size, self.objective.n_rows
        epoch, place = divmod(step, self.steps_per_epoch)
        order = np.random.default_rng([self.settings.seed, epoch]).permutation(n)
        return order[place * size : (place + 1) * size]

    def train(self, checkpoint: Path | None = None) -> None:
        """Train to the last step, from a checkpoint where one is given.

        Raises
        ------
        RuntimeError
            If a loss isn't a number.
        """
        if checkpoint is not None:
            self._load(checkpoint)
        self._tell("on_train_begin")
        self.meter.start()
        every = self.settings.checkpoint_every or self.n_steps
        due = {self.n_steps, *self._kept}
        while self.step < self.n_steps:
            self._tell("on_step_begin")
            self._train_step()
            self._tell("on_step_end")
            better = self._evaluate()
            if self.step % every == 0 or self.step in due or better:
                self._save()
                self._tell("on_save")
            elif self.step % self.settings.logging_steps == 0:
                self._settle()
        self.meter.stop()
        self._tell("on_train_end")

    def share(self, rows: Sequence[int]) -> list[tuple[list[int], bool]]:
        """Divide rows into what goes through the model together: this process's part."""
        return shared(self.objective.bins(rows), self.processes.rank, self.processes.size)

    def losses(self, part: Sequence[int], rows: Sequence[int]) -> dict[str, Tensor]:
        """Return the losses of a part of some rows, under the model as it is now."""
        with self._autocast():
            return self.objective.losses(self.module, part, rows, self.step)

    def _train_step(self) -> None:
        """One step of the optimizer."""
        batch = self.batch(self.step).tolist()
        rate = learning_rate(self.settings, self.step, self.n_steps)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        figures: dict[str, list[Tensor]] = {}
        # gradients are averaged over processes, the loss is a sum over all of them
        scale = self.processes.size / len(batch)
        mine = self.share(batch)
        for place, (rows, counts) in enumerate(mine):
            with self.processes.accumulate(last=place == len(mine) - 1):
                found = self.losses(rows, batch)
                loss = found["loss"].sum() * scale
                self.processes.backward(loss if counts else 0 * loss)
            self._tell("on_substep_end")
            for name, values in found.items():
                kept = values.detach().float() if counts else values.detach().float()[:0]
                figures.setdefault(name, []).append(kept)
            self.meter.add(self.objective.tokens(rows) if counts else 0)
        norm = self.processes.clip(self.module, self.settings.max_grad_norm)
        self._tell("on_pre_optimizer_step")
        self.optimizer.step()
        self._tell("on_optimizer_step")
        self.optimizer.zero_grad()
        self.step += 1
        known = {"step": self.step, "n_rows": len(batch), "learning_rate": rate}
        means = {name: self._mean(values, len(batch)) for name, values in figures.items()}
        self._pending.append((known, {**means, "grad_norm": norm}))

    def _evaluate(self) -> bool:
        """Evaluate where it's due; whether there was no better evaluation, and one asks for it."""
        if self._held_out is None or not self._held_out.due(self.step, self.n_steps):
            return False
        self.meter.stop()
        figures = self._held_out.figures(self)
        self._pending[-1][0].update(figures)
        self._settle()
        self._tell("on_evaluate", metrics=figures)
        self.meter.start()
        return self._best_step() == self.step

    def _best_step(self) -> int | None:
        return None if self._held_out is None else self._held_out.best_step(self.history)

    def _mean(self, values: list[Tensor], n: int) -> Tensor:
        """Mean over the rows of a step; stays on the device."""
        return self.processes.total(torch.cat(values).double().sum()) / n

    def _autocast(self) -> torch.autocast:
        return torch.autocast(
            self.processes.device.type, torch.bfloat16, enabled=self.settings.dtype == "bfloat16"
        )

    def _settle(self) -> None:
        """Fetch the figures of the last steps from the device, all at once."""
        for known, tensors in self._pending:
            figures = known | {name: float(value) for name, value in tensors.items()}
            if not math.isfinite(figures["loss"]):
                raise RuntimeError(f"the loss is {figures['loss']} at step {int(known['step'])}")
            self.history.append(figures)
            if self.processes.rank == 0:
                self._on_step(int(known["step"]), self.n_steps, figures)
                if self._callbacks is not None:
                    self._callbacks.log(self, figures)
        self._pending.clear()

    def _tell(self, event: str, **known: Any) -> None:
        if self._callbacks is not None:
            self._callbacks.tell(event, self, **known)

    # ---- checkpoints --------------------------------------------------------------------------

    def _save(self) -> None:
        self._settle()
        self.meter.stop()
        self.processes.wait()
        parts = self.folder / _PARTS
        if self.processes.rank == 0:
            shutil.rmtree(parts, ignore_errors=True)
            parts.mkdir(parents=True)
        self.processes.wait()
        with writing(self.folder):
            self.processes.save(self.optimizer, parts)
        whole = self.processes.weights(self.module)
        state = {name.removeprefix("model."): value for name, value in whole.items()}
        self.processes.wait()
        if self.processes.rank == 0:
            step = self.folder / f"{STEP}{self.step}"
            with writing(self.folder), atomic_folder(step) as folder:
                for part in sorted(parts.iterdir()):
                    part.rename(folder / part.name)
                save_weights(self.model, state, folder)
                about = {"step": self.step, "n_steps": self.n_steps, "history": self.history}
                write_json(about, folder / STATE_FILE)
            parts.rmdir()
            self._clear()
        self.processes.wait()
        self.meter.start()

    def _clear(self) -> None:
        """Of earlier checkpoints keep no more than the weights that are asked for."""
        for folder in self.folder.glob(f"{STEP}*"):
            step = int(folder.name.removeprefix(STEP))
            if step == self.step:
                continue
            if step != self._best_step() and step not in self._kept:
                shutil.rmtree(folder)
                continue
            for name in TO_GO_ON:
                if (folder / name).is_dir():
                    shutil.rmtree(folder / name)
                else:
                    (folder / name).unlink(missing_ok=True)

    def _load(self, folder: Path) -> None:
        state = read_json(folder / STATE_FILE)
        self.step, self.history = state["step"], state["history"]
        self.processes.load(self.model, self.optimizer, folder)


def shared(bins: Sequence[list[int]], rank: int, size: int) -> list[tuple[list[int], bool]]:
    """A process's bins, as many as every other's; those that only keep step don't count.

    Examples
    --------
    >>> shared([[0, 1], [2], [3]], 0, 2), shared([[0, 1], [2], [3]], 1, 2)
    ([([0, 1], True), ([3], True)], [([2], True), ([0, 1], False)])
    """
    mine = [(rows, True) for rows in bins[rank::size]]
    return mine + [(bins[0], False)] * (-(-len(bins) // size) - len(mine))
