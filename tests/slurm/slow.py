"""A study that takes its time, and says in its history which steps it made."""

import time

import numpy as np
import torch
from torch import nn

from senmei.core.method import Method
from senmei.training.loop import Player, Schedule, train
from tests.contract.image import CONFIG as IMAGE

STEPS, PAUSE = 150, 1.0


class Slow(Method):
    """Trains one number, in two minutes and a half."""

    title = "Slow"
    family = "learned"
    needs = ("input",)

    def fit(self, train_examples, validation, context):
        torch.manual_seed(0)
        network = nn.Linear(1, 1)
        player = Player(network, Schedule(STEPS, 0.1, save_seconds=3600))

        def update(t):
            time.sleep(PAUSE)
            loss = (network(torch.ones(1, 1)) - t / STEPS).square().mean()
            player.descend(loss)
            return {"loss": float(loss.detach())}

        kept = train({"net": player}, update, None, Schedule(STEPS, 0.1, save_seconds=3600), context, "slow")
        return {k: v.numpy() for k, v in kept.state_dict().items()}

    def load(self, weights, device="cpu"):
        self.factor = float(np.ravel(weights["weight"])[0])

    def apply(self, example):
        return example["input"].like(example["input"].data * np.float32(self.factor))


CONFIG = {**IMAGE, "methods": {"slow": {"use": "tests.slurm.slow:Slow"}}}
