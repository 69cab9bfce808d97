"""Muon: momentum whose every update is made orthogonal."""

from __future__ import annotations

from collections.abc import Iterable

import torch

_SWEEPS = 5
_COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # a quintic that pulls singular values to about one


def orthogonal(update: torch.Tensor) -> torch.Tensor:
    """The nearest (about) semi-orthogonal matrix of (rows, columns), by five Newton-Schulz sweeps; float32.

    Singular values end between about 0.7 and 1.2.
    """
    a, b, c = _COEFFICIENTS
    x = update / (update.norm() + 1e-12)
    tall = x.shape[0] > x.shape[1]
    if tall:
        x = x.T
    for _ in range(_SWEEPS):
        square = x @ x.T
        x = a * x + (b * square + c * square @ square) @ x
    return x.T if tall else x


class Muon(torch.optim.Optimizer):
    """Nesterov momentum, orthogonalised per convolution as an (outputs, inputs x kernel) matrix.

    For the inner convolutions of a network; first and last layers and biases are better left to AdamW.
    [Jordan 2024, "Muon: an optimizer for hidden layers in neural networks"; Bernstein 2024, arXiv:2409.20325]
    """

    def __init__(self, parameters: Iterable[torch.nn.Parameter], lr: float, momentum: float = 0.95) -> None:
        super().__init__(parameters, {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """One update of every parameter that has a gradient."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                state = self.state[parameter]
                if not state:
                    state["momentum"] = torch.zeros_like(parameter)
                state["momentum"].lerp_(parameter.grad, 1 - group["momentum"])
                ahead = parameter.grad.lerp(state["momentum"], group["momentum"])
                matrix = orthogonal(ahead.reshape(ahead.shape[0], -1))
                scale = max(1.0, matrix.shape[0] / matrix.shape[1]) ** 0.5
                parameter.add_(matrix.reshape(parameter.shape), alpha=-group["lr"] * scale)
