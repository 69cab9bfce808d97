"""Validation of networks for planar images while they are trained."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

from senmei.core.errors import DataError
from senmei.core.example import Example
from senmei.core.method import FitContext
from senmei.methods.planar import Sheet, judged_range, truth
from senmei.training.loop import mixed_precision
from senmei.training.planar_patches import PlanarSource

if TYPE_CHECKING:
    from senmei.methods.super_resolution import SuperResolutionNetwork

_STATISTICS = 12  # batches that the statistics of batch normalisation are taken from


class PlanarPSNR:
    """Mean PSNR, dB, of a network over the validation scans, each in its data range."""

    def __init__(
        self,
        method: SuperResolutionNetwork,
        examples: Sequence[Example],
        source: PlanarSource,
        context: FitContext,
    ) -> None:
        self.method, self.source, self.context = method, source, context
        self.cases: list[tuple[Sheet, np.ndarray, float]] = []
        for example in examples:
            sheet = method.sheet(example)
            if sheet.scale > 0 and sheet.factor == source.factor:
                target = truth(example, method.target, sheet)
                self.cases.append((sheet, target, judged_range(example, target)))
        if not self.cases:
            raise DataError(
                f"Cannot train {method.title}",
                where="validation scans",
                why="there are none of the factor that is trained for, and the step to keep is chosen on them",
                fix="give the training cohort a validation subject",
            )

    def __call__(self, network: nn.Module) -> float:
        self.statistics(network)
        network.eval()
        scores = []
        for sheet, target, span in self.cases:
            restored = self.method.finish(self.method.restored(network, sheet, self.context.device), sheet)
            error = float(np.mean((restored - target) ** 2, dtype=np.float64))
            scores.append(10 * np.log10(span**2 / max(error, 1e-20)))
        return float(np.mean(scores))

    def statistics(self, network: nn.Module) -> None:
        """Means and variances of the averaged weights' own activations, where there is batch normalisation.

        [Izmailov 2018, UAI, section 3.2]
        """
        norms = [m for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
        if not norms:
            return
        for module in norms:
            module.reset_running_stats()
            module.momentum = None  # plain means, so that they do not depend on an order
        network.train()
        with torch.no_grad(), mixed_precision(self.method.precision, self.context.device):
            for t in range(_STATISTICS):
                data = self.source.batch(t, self.context.device)
                network(data.low, data.told, data.base)
        network.eval()
