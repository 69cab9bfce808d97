"""One number by the loop that trains networks; apart, because whoever needs no training imports no torch."""

import time

import numpy as np

from senmei.core.method import Method
from tests.faults.slow import PAUSE

STEPS, STEP = 40, 0.05


class Trained(Method):
    """Writes a checkpoint several times a second."""

    title = "Trained"
    family = "learned"
    needs = ("input",)

    def fit(self, train_examples, validation, context):
        import torch
        from torch import nn

        from senmei.training.loop import Player, Schedule, train

        torch.manual_seed(0)
        network = nn.Linear(1, 1)
        schedule = Schedule(STEPS, 0.1, save_seconds=0.2)

        def update(t):
            time.sleep(STEP)
            loss = (network(torch.ones(1, 1)) - t / STEPS).square().mean()
            player.descend(loss)
            return {"loss": float(loss.detach())}

        player = Player(network, schedule)
        kept = train({"net": player}, update, None, schedule, context, "trained")
        return {name: value.numpy() for name, value in kept.state_dict().items()}

    def load(self, weights, device="cpu"):
        self.factor = float(np.ravel(weights["weight"])[0])

    def apply(self, example):
        time.sleep(PAUSE)
        return example["input"].like(example["input"].data * np.float32(self.factor))
