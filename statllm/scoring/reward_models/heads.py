"""The heads of reward models, read from their weights: no model repository's code is run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from statllm.errors import InputError
from statllm.files import read_json

if TYPE_CHECKING:
    from torch import Tensor

#: What the 19 outputs of ArmoRM-Llama3-8B-v0.1 stand for, in its order (its model card).
ARMORM_OBJECTIVES = (
    "helpsteer-helpfulness",
    "helpsteer-correctness",
    "helpsteer-coherence",
    "helpsteer-complexity",
    "helpsteer-verbosity",
    "ultrafeedback-overall_score",
    "ultrafeedback-instruction_following",
    "ultrafeedback-truthfulness",
    "ultrafeedback-honesty",
    "ultrafeedback-helpfulness",
    "beavertails-is_safe",
    "prometheus-score",
    "argilla-overall_quality",
    "argilla-judge_lm",
    "code-complexity",
    "code-style",
    "code-explanation",
    "code-instruction-following",
    "code-readability",
)


class Head(Protocol):
    """What makes rewards of the last layer's hidden states."""

    @property
    def needs_prompt_end(self) -> bool:
        """Whether it reads the state of the prompt's last token."""
        ...

    @property
    def appends_cls(self) -> bool:
        """Whether it reads the state of a CLS token behind the text."""
        ...

    @property
    def n_objectives(self) -> int:
        """Number of rewards before they are made one."""
        ...

    def __call__(self, last: Tensor, prompt_end: Tensor) -> Tensor:
        """Return reward and objectives, (n, 1 + n_objectives), of two rows of hidden states."""
        ...


@dataclass(frozen=True)
class LinearHead:
    """One linear output at one token: the ``score`` of transformers' classifiers, or a ``v_head``.

    Parameters
    ----------
    weight : Tensor, shape (1, width)
    bias : Tensor, shape (1,), optional
    appends_cls : bool
        Whether the token is a CLS token behind the text (Athene) or the text's last one.
    """

    weight: Tensor
    bias: Tensor | None = None
    appends_cls: bool = False
    needs_prompt_end: bool = False
    n_objectives: int = 0

    def __call__(self, last: Tensor, prompt_end: Tensor) -> Tensor:
        """Return the reward, (n, 1)."""
        from torch.nn import functional

        return functional.linear(last, self.weight, self.bias)


@dataclass(frozen=True)
class GatedHead:
    """Several objectives, weighed by a network that sees the prompt alone (ArmoRM).

    With h the hidden state of the last token and g that of the prompt's last one,
    rewards = R h, weights = s softmax(MLP(g) / T), score = weights · (rewards M). Wang et al.
    (2024, arXiv 2406.12845) call M the decorrelation of the objectives from verbosity.

    Parameters
    ----------
    regression : Tensor, shape (n_objectives, width)
        R.
    layers : tuple of (weight, bias)
        Of the MLP, ReLU between them; a bias may be None.
    transform : Tensor, shape (n_objectives, n_objectives)
        M.
    scale, temperature : float
        s and T.
    """

    regression: Tensor
    layers: tuple[tuple[Tensor, Tensor | None], ...]
    transform: Tensor
    scale: float = 1.0
    temperature: float = 10.0
    appends_cls: bool = False
    needs_prompt_end: bool = True

    @property
    def n_objectives(self) -> int:
        """Number of objectives."""
        return int(self.regression.shape[0])

    def __call__(self, last: Tensor, prompt_end: Tensor) -> Tensor:
        """Return the score and the rewards of the objectives, (n, 1 + n_objectives)."""
        import torch
        from torch.nn import functional

        rewards = functional.linear(last, self.regression)
        x = prompt_end
        for place, (weight, bias) in enumerate(self.layers):
            x = functional.linear(functional.relu(x) if place else x, weight, bias)
        weights = self.scale * torch.softmax(x / self.temperature, dim=1)
        score = (weights * (rewards @ self.transform)).sum(1, keepdim=True)
        return torch.cat([score, rewards], dim=1)


def read_head(folder: Path, device: Any = "cpu") -> Head:
    """Read the head of a reward model's folder, in float32.

    Which one it is, is told by the names of the weights: ``score.weight`` (Skywork's and all of
    transformers' decoder classifiers with one label), ``v_head.weight`` (Athene),
    ``regression_layer.weight`` with ``gating.*`` and ``reward_transform_matrix`` (ArmoRM).

    Raises
    ------
    InputError
        If there's none of them, or it has more than one output.
    """
    names = weight_files(folder)
    for name, cls in (("score", False), ("v_head", True)):
        if f"{name}.weight" in names:
            wanted = [f"{name}.weight", f"{name}.bias"]
            found = _tensors(folder, names, [key for key in wanted if key in names], device)
            weight = found[wanted[0]]
            if weight.ndim != 2 or len(weight) != 1:
                raise InputError(
                    f"model {folder} is not a reward model: '{name}.weight' has "
                    f"{len(weight)} outputs, one was expected"
                )
            return LinearHead(weight, found.get(wanted[1]), appends_cls=cls)
    if "regression_layer.weight" in names:
        return _gated(folder, names, device)
    raise InputError(
        f"model {folder} is not a reward model: its weights have none of score.weight, "
        "v_head.weight, regression_layer.weight and, of a sequence classifier, classifier.weight"
    )


def _gated(folder: Path, names: Mapping[str, str], device: Any) -> GatedHead:
    """The head of ArmoRM."""
    gates = [name for name in names if name.startswith("gating.")]
    keys = ["regression_layer.weight", "reward_transform_matrix", *gates]
    unknown = [name for name in gates if not _is_gate(name)]
    if "reward_transform_matrix" not in names or not gates or unknown:
        reason = f"'{unknown[0]}' is unknown" if unknown else "a part of the gating is missing"
        raise InputError(f"the gated head of model {folder} isn't that of ArmoRM: {reason}")
    found = _tensors(folder, names, keys, device)
    places = sorted({int(name.split(".")[2]) for name in gates if ".layers." in name})
    layers = tuple(
        (found[f"gating.layers.{i}.weight"], found.get(f"gating.layers.{i}.bias")) for i in places
    )
    regression, transform = found["regression_layer.weight"], found["reward_transform_matrix"]
    n = len(regression)
    if transform.shape != (n, n) or not layers or len(layers[-1][0]) != n:
        raise InputError(
            f"the gated head of model {folder} isn't that of ArmoRM: {n} objectives, but "
            f"other shapes of the gating"
        )
    scale = found.get("gating.logit_scale")
    config = read_json(folder / "config.json")
    return GatedHead(
        regression,
        layers,
        transform,
        scale=1.0 if scale is None else float(scale.flatten()[0]),
        temperature=float(config.get("gating_temperature", 10)),
    )


def _is_gate(name: str) -> bool:
    """Whether a weight is one of ArmoRM's gating network (others have batch norms)."""
    parts = name.split(".")
    if name == "gating.logit_scale":
        return True
    layer = len(parts) == 4 and parts[1] == "layers" and parts[2].isdigit()
    return layer and parts[3] in ("weight", "bias")


def weight_files(folder: Path) -> dict[str, str]:
    """Return the file of each weight."""
    from safetensors import SafetensorError, safe_open

    index = folder / "model.safetensors.index.json"
    if index.is_file():
        return dict(read_json(index)["weight_map"])
    try:
        with safe_open(folder / "model.safetensors", framework="pt") as file:
            return dict.fromkeys(file.keys(), "model.safetensors")
    except SafetensorError as error:
        raise InputError(f"model {folder} can't be loaded: {error}") from error


def _tensors(
    folder: Path, names: Mapping[str, str], keys: list[str], device: Any
) -> dict[str, Tensor]:
    """Some weights, in float32."""
    from safetensors import SafetensorError, safe_open

    found: dict[str, Tensor] = {}
    try:
        for key in keys:
            with safe_open(folder / names[key], framework="pt") as file:
                found[key] = file.get_tensor(key).float().to(device)
    except (SafetensorError, OSError) as error:
        raise InputError(f"model {folder} can't be loaded: {error}") from error
    return found
