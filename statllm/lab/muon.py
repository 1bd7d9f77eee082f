"""Muon: momentum whose matrix is made orthogonal before each step."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

# Quintic of Newton-Schulz; the coefficients are K. Jordan's (2024), chosen for a steep slope at 0.
_A, _B, _C = 3.4445, -4.7750, 2.0315


def orthogonalize(matrix: Tensor, steps: int = 5) -> Tensor:
    """Return a matrix with the same singular vectors and all singular values near 1.

    Parameters
    ----------
    matrix : Tensor, shape (rows, columns)
    steps : int
        Newton-Schulz iterations ``X <- a X + (b A + c A^2) X`` with ``A = X X^T``.

    Returns
    -------
    Tensor, shape (rows, columns)
        Singular values end in about [0.7, 1.2], which is all that Muon needs.

    Examples
    --------
    >>> singular = torch.linalg.svdvals(orthogonalize(torch.tensor([[3.0, 0.0], [0.0, 0.2]])))
    >>> bool((singular > 0.6).all() and (singular < 1.3).all())
    True
    """
    x: Tensor = matrix / (matrix.norm() + 1e-7)
    if tall := x.shape[0] > x.shape[1]:
        x = x.T
    for _ in range(steps):
        a = x @ x.T
        x = _A * x + (_B * a + _C * a @ a) @ x
    return x.T if tall else x


class Muon(torch.optim.Optimizer):
    """Stochastic gradient descent with Nesterov momentum, orthogonalized (Jordan et al., 2024).

    For matrices inside the network only; embeddings, head and norms belong to AdamW.

    Parameters
    ----------
    params : iterable of Tensor
        Two-dimensional parameters.
    lr : float
        Step length; a step has spectral norm about ``lr * sqrt(max(1, rows / columns))``.
    momentum : float

    Examples
    --------
    >>> weight = torch.nn.Parameter(torch.eye(2))
    >>> optimizer = Muon([weight], lr=0.1)
    >>> weight.grad = torch.eye(2)
    >>> _ = optimizer.step()
    >>> bool((weight.diagonal() < 1).all())
    True
    """

    def __init__(
        self, params: Iterable[torch.nn.Parameter], lr: float = 0.03, momentum: float = 0.95
    ) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Take one step along the orthogonalized momentum."""
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                state = self.state[weight]
                buffer = state.setdefault("momentum", torch.zeros_like(weight))
                buffer.lerp_(weight.grad, 1 - group["momentum"])
                direction = weight.grad.lerp(buffer, group["momentum"])  # Nesterov
                scale = max(1.0, weight.shape[0] / weight.shape[1]) ** 0.5
                weight.add_(orthogonalize(direction), alpha=-group["lr"] * scale)
