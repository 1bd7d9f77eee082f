"""One process, or several under `accelerate launch`: DDP, FSDP or DeepSpeed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from statllm.errors import InputError
from statllm.training.optimizer import MasterAdamW
from statllm.training.weights import load_weights

_OPTIMIZER, _PARTS = "optimizer.pt", "processes"
#: What a checkpoint holds to go on from, beside the weights.
TO_GO_ON = (_OPTIMIZER, _PARTS)


class Processes(Protocol):
    """How the processes of a training share its work.

    Gradients of all processes are averaged, so a loss that is divided by the rows of the whole
    optimizer batch must be multiplied by `size`.
    """

    rank: int
    size: int
    device: torch.device

    def prepare(self, module: torch.nn.Module, optimizer: Any) -> tuple[torch.nn.Module, Any]:
        """Return module and optimizer as they are called from now on; weights may be divided."""
        ...

    def accumulate(self, last: bool) -> AbstractContextManager[None]:
        """Gradients meet in the `last` backward pass of a step; before it they add up apart."""
        ...

    def backward(self, loss: Tensor) -> None:
        """Add the gradients of a loss."""
        ...

    def clip(self, module: torch.nn.Module, norm: float) -> Tensor:
        """Clip the gradients to a norm over all parameters (0: don't); return what it was."""
        ...

    def total(self, value: Tensor) -> Tensor:
        """Sum over all processes."""
        ...

    def weights(self, module: torch.nn.Module) -> dict[str, Tensor]:
        """Return the whole state of the module; empty where this isn't the first process."""
        ...

    def save(self, optimizer: Any, folder: Path) -> None:
        """Keep the optimizer's state, and where processes hold parts of the weights, those."""
        ...

    def load(self, model: Any, optimizer: Any, folder: Path) -> None:
        """Take back what `save` has kept, and the weights."""
        ...

    def wait(self) -> None:
        """Wait for the other processes."""
        ...


class OneProcess:
    """The usual case, without accelerate."""

    rank, size = 0, 1

    def __init__(self) -> None:
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")

    def prepare(self, module: torch.nn.Module, optimizer: Any) -> tuple[torch.nn.Module, Any]:
        """As they are."""
        return module, optimizer

    def accumulate(self, last: bool) -> AbstractContextManager[None]:
        """Nobody to meet."""
        return nullcontext()

    def backward(self, loss: Tensor) -> None:
        """Add the gradients of a loss."""
        loss.backward()

    def clip(self, module: torch.nn.Module, norm: float) -> Tensor:
        """Clip on the device, without waiting for it."""
        return torch.nn.utils.clip_grad_norm_(module.parameters(), norm or float("inf"))

    def total(self, value: Tensor) -> Tensor:
        """Itself."""
        return value

    def weights(self, module: torch.nn.Module) -> dict[str, Tensor]:
        """The state itself."""
        return module.state_dict()

    def save(self, optimizer: Any, folder: Path) -> None:
        """Write the optimizer's state."""
        torch.save(optimizer.state_dict(), folder / _OPTIMIZER)

    def load(self, model: Any, optimizer: Any, folder: Path) -> None:
        """Read weights and the optimizer's state."""
        load_weights(model, folder)
        state = torch.load(folder / _OPTIMIZER, map_location=self.device, weights_only=True)
        optimizer.load_state_dict(state)

    def wait(self) -> None:
        """For nobody."""


class Several:
    """Processes that `accelerate launch` has started, as its configuration says."""

    def __init__(self) -> None:
        from accelerate import Accelerator

        self._accelerator = Accelerator()
        self.rank = self._accelerator.process_index
        self.size = self._accelerator.num_processes
        self.device = self._accelerator.device

    def prepare(self, module: torch.nn.Module, optimizer: Any) -> tuple[torch.nn.Module, Any]:
        """Wrap them for DDP, FSDP or DeepSpeed."""
        kind = self._accelerator.distributed_type.value
        if isinstance(optimizer, MasterAdamW) and kind in ("FSDP", "DEEPSPEED"):
            raise InputError(
                f"weight_dtype bfloat16 doesn't go with {kind}, which divides float32 weights "
                "itself: leave it out, dtype bfloat16 is enough"
            )
        if isinstance(optimizer, MasterAdamW) and optimizer.float32_gradients:
            raise InputError(
                f"{self.size} processes exchange gradients in the format of the weights: "
                "weight_dtype bfloat16 needs gradient_dtype bfloat16"
            )
        plugin = self._accelerator.state.deepspeed_plugin
        if plugin is not None:  # which asks for a number that only loaders of batches have
            plugin.deepspeed_config["train_micro_batch_size_per_gpu"] = 1
        prepared: tuple[torch.nn.Module, Any] = self._accelerator.prepare(module, optimizer)
        self._module = prepared[0]
        return prepared

    @contextmanager
    def accumulate(self, last: bool) -> Iterator[None]:
        """Leave out the exchange of gradients but for the last pass."""
        with nullcontext() if last else self._accelerator.no_sync(self._module):
            yield

    def backward(self, loss: Tensor) -> None:
        """Add the gradients of a loss."""
        self._accelerator.backward(loss)

    def clip(self, module: torch.nn.Module, norm: float) -> Tensor:
        """Clip by the norm over all processes' parts."""
        found: Any = self._accelerator.clip_grad_norm_(module.parameters(), norm or float("inf"))
        return torch.as_tensor(found)

    def total(self, value: Tensor) -> Tensor:
        """Sum over all processes."""
        found: Tensor = self._accelerator.reduce(value, reduction="sum")
        return found

    def weights(self, module: torch.nn.Module) -> dict[str, Tensor]:
        """Collect the parts; all processes must take part."""
        state: dict[str, Tensor] = self._accelerator.get_state_dict(module)
        return state if self.rank == 0 else {}

    def save(self, optimizer: Any, folder: Path) -> None:
        """Write every process's part."""
        self._accelerator.save_state(str(folder / _PARTS))

    def load(self, model: Any, optimizer: Any, folder: Path) -> None:
        """Read every process's part."""
        self._accelerator.load_state(str(folder / _PARTS))

    def wait(self) -> None:
        """Wait for the other processes."""
        self._accelerator.wait_for_everyone()


def processes() -> Processes:
    """Return how this process works with others; there are none without a launcher."""
    return Several() if int(os.environ.get("WORLD_SIZE", "1")) > 1 else OneProcess()
