"""The covariance of a reward head's weights, kept beside the model."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from statllm.errors import InputError
from statllm.files import atomic

FloatArray = NDArray[np.float64]

#: The file in a model's folder.
LAPLACE_FILE = "reward_laplace.safetensors"


@dataclass(frozen=True, eq=False)
class RewardLaplace:
    """Laplace's approximation of the posterior of a linear head's weights.

    Parameters
    ----------
    weights : ndarray of float64, shape (d,)
        Where it was made: the head's weights.
    covariance : ndarray of float64, shape (d, d)
    prior_precision : float
    n_pairs : int
        Preference pairs behind it.
    """

    weights: FloatArray
    covariance: FloatArray
    prior_precision: float
    n_pairs: int

    def save(self, folder: str | Path) -> None:
        """Write it into a model's folder."""
        from safetensors.numpy import save_file

        tensors = {
            "weights": np.ascontiguousarray(self.weights),
            "covariance": np.ascontiguousarray(self.covariance),
            # Numbers of the file's own header come in any order; equal models have equal bytes.
            "prior_precision": np.array([self.prior_precision]),
            "n_pairs": np.array([self.n_pairs], dtype=np.int64),
        }
        with atomic(Path(folder) / LAPLACE_FILE) as temporary:
            save_file(tensors, temporary)

    @classmethod
    def load(cls, folder: str | Path, head_weights: FloatArray) -> RewardLaplace:
        """Read that of a model's folder.

        Raises
        ------
        InputError
            If there's none, or it belongs to a head with other weights.
        """
        from safetensors import SafetensorError, safe_open

        path = Path(folder) / LAPLACE_FILE
        if not path.is_file():
            raise InputError(
                f"model {folder} has no {LAPLACE_FILE}: a reward model from `statllm train-reward` "
                "has one; others have a gap variance as an ensemble only"
            )
        try:
            with safe_open(path, framework="np") as file:
                found = cls(
                    file.get_tensor("weights"),
                    file.get_tensor("covariance"),
                    float(file.get_tensor("prior_precision")[0]),
                    int(file.get_tensor("n_pairs")[0]),
                )
        except SafetensorError as error:
            raise InputError(f"{path} can't be read: {error}") from error
        d = len(found.weights)
        same = found.weights.shape == head_weights.shape and np.allclose(
            found.weights, head_weights, rtol=1e-4, atol=1e-6
        )
        if not same or found.covariance.shape != (d, d):
            raise InputError(f"{path} belongs to another head than that of model {folder}")
        return found
