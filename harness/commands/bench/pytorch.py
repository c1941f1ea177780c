"""The 18-layer network in PyTorch, with a plain training loop."""

import numpy as np
import torch
from torch import nn

from harness.config import Recipe

FILTERS = (32, 64, 128)


def build(recipe: Recipe) -> nn.Sequential:
    """Build the network of `harness.engine.network.build`: images [B, 3, 32, 32] in, logits [B, 10] out."""
    layers: list[nn.Module] = []
    channels = 3
    for filters, rate in zip(FILTERS, recipe.dropout, strict=False):
        for _ in range(3):
            layers += [
                nn.Conv2d(channels, filters, 3, padding=1),
                nn.BatchNorm2d(filters, eps=1e-3, momentum=1 - recipe.normalization_momentum),
                nn.ReLU(),
            ]
            channels = filters
        layers += [nn.MaxPool2d(2), nn.Dropout(rate)]
    layers += [nn.Flatten(), nn.Linear(2048, 32), nn.ReLU(), nn.Dropout(recipe.dropout[3]), nn.Linear(32, 10)]
    return nn.Sequential(*layers)


class Trainer:
    """Trains on arrays in memory: x float32 [N, 32, 32, 3], y integers [N]. `precision` may be changed at any time."""

    precision = "float32"

    def __init__(self, recipe: Recipe, x: np.ndarray, y: np.ndarray, *, compiled: bool = False) -> None:
        torch.manual_seed(0)
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.model = build(recipe).to(self.device, memory_format=torch.channels_last)
        # The compiled model uses the parameters of the plain model.
        self._forward = torch.compile(self.model) if compiled else self.model
        self.optimizer = torch.optim.SGD(
            self.model.parameters(), lr=recipe.learning_rate, momentum=recipe.momentum, nesterov=True
        )
        self.batch_size = recipe.batch_size
        # A transposed view: the memory layout stays channels last.
        self.x = torch.from_numpy(x).to(self.device).permute(0, 3, 1, 2)
        self.y = torch.from_numpy(y).long().to(self.device)

    def steps(self, count: int) -> None:
        """Train on `count` full batches in a random order, repeated if it is too short; wait for the result."""
        order = torch.randperm(len(self.x), device=self.device)
        batches = len(order) // self.batch_size
        for step in range(count):
            # Past the end of the order there would be only empty batches, which take no time and count as trained.
            rows = order.split(self.batch_size)[step % batches]
            x = self.x[rows].contiguous(memory_format=torch.channels_last)
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bfloat16"):
                loss = nn.functional.cross_entropy(self._forward(x), self.y[rows])
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
        loss.item()  # a GPU computes asynchronously: wait for the result
