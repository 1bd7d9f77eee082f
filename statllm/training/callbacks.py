"""Callbacks of transformers, told of our training: loggers, and what users bring."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from statllm.errors import InputError

if TYPE_CHECKING:
    from transformers import TrainerCallback

    from statllm.training.settings import TrainingSettings
    from statllm.training.trainer import Trainer


class Callbacks:
    """Tells transformers' callbacks what they would hear from its own trainer.

    Parameters
    ----------
    callbacks : sequence of TrainerCallback
        Besides those of ``settings.report_to``, transformers' integrations of loggers.
    settings : TrainingSettings
    folder : Path
        Of the run, ``<out>.partial``. Loggers that write files do so in ``<out>.logs``, which
        stays.

    Raises
    ------
    InputError
        If a logger is unknown or isn't installed.
    """

    def __init__(
        self, callbacks: Sequence[TrainerCallback], settings: TrainingSettings, folder: Path
    ) -> None:
        from transformers import TrainerControl, TrainerState, TrainingArguments
        from transformers.integrations.integration_utils import (
            get_reporting_integration_callbacks,
        )

        names = list(settings.report_to)
        try:
            loggers = [kind() for kind in get_reporting_integration_callbacks(names)]
        except (ImportError, RuntimeError, ValueError) as error:
            raise InputError(f"report_to: {str(error).splitlines()[0]}") from error
        self._callbacks = [*loggers, *callbacks]
        self._arguments = TrainingArguments(
            output_dir=str(folder.with_name(f"{folder.name.removesuffix('.partial')}.logs")),
            report_to=names,
            learning_rate=settings.learning_rate,
            per_device_train_batch_size=settings.batch_size,
            num_train_epochs=settings.epochs,
            logging_steps=settings.logging_steps,
            seed=settings.seed,
            use_cpu=True,  # it must not look for devices; nothing runs by these arguments
        )
        self._state, self._control = TrainerState(), TrainerControl()

    def tell(self, event: str, trainer: Trainer, **known: Any) -> None:
        """Pass an event on."""
        state = self._state
        state.global_step, state.max_steps = trainer.step, trainer.n_steps
        state.epoch = trainer.step / trainer.steps_per_epoch
        state.is_world_process_zero = trainer.processes.rank == 0
        for callback in self._callbacks:
            getattr(callback, event)(
                self._arguments,
                state,
                self._control,
                model=trainer.model,
                optimizer=trainer.optimizer,
                **known,
            )

    def log(self, trainer: Trainer, figures: Mapping[str, float]) -> None:
        """Pass the figures of a step on."""
        step, trainer.step = trainer.step, int(figures["step"])
        try:
            self.tell("on_log", trainer, logs=dict(figures))
        finally:
            trainer.step = step


def with_callbacks(
    callbacks: Sequence[TrainerCallback], settings: TrainingSettings, folder: Path
) -> Callbacks | None:
    """Return them, None where there are none: then transformers' arguments aren't needed."""
    return Callbacks(callbacks, settings, folder) if callbacks or settings.report_to else None
