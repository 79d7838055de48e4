"""A small network that is trained on some images and asked about the others, in turns.

Shape legend: C classes, h x w cells.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .audit import Labels

_BATCH = 8
_CHANNELS = (16, 24, 32, 48)
_RATE = 4e-3
#: Of the loss of the centres' heatmap, which is near 0 almost everywhere.
_CENTRE_WEIGHT = 20.0


@dataclass(frozen=True)
class Example:
    """``image``: float32 [3, h, w], about 0 mean and unit deviation."""

    image: np.ndarray
    labels: Labels


class SmallNet(nn.Module):
    """Four scales, two convolutions at the finest; C classes and a heatmap of centres. It knows where a cell is."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        inputs = (5, *_CHANNELS[:-1])
        self.down = nn.ModuleList(_block(a, b) for a, b in zip(inputs, _CHANNELS))
        self.up = nn.ModuleList(nn.Conv2d(b, a, 1) for a, b in zip(_CHANNELS, _CHANNELS[1:]))
        self.last = _block(_CHANNELS[0], _CHANNELS[0])
        self.predict = nn.Conv2d(_CHANNELS[0], num_classes + 1, 1)

    def forward(self, images: Tensor) -> Tensor:
        """[B, 3, h, w] -> [B, C + 1, h, w]."""
        rows = torch.linspace(-1, 1, images.shape[-2]).view(1, 1, -1, 1).expand(len(images), 1, *images.shape[-2:])
        columns = torch.linspace(-1, 1, images.shape[-1]).view(1, 1, 1, -1).expand_as(rows)
        features, scales = torch.cat([images, rows, columns], 1), []
        for number, block in enumerate(self.down):
            features = block(F.max_pool2d(features, 2) if number else features)
            scales.append(features)
        for lateral, finer in zip(reversed(self.up), reversed(scales[:-1])):
            features = finer + F.interpolate(lateral(features), size=finer.shape[-2:], mode="nearest")
        return self.predict(self.last(features))


def _block(inputs: int, outputs: int) -> nn.Module:
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU())


def cross_fit(
    examples: Sequence[Example],
    num_classes: int,
    *,
    folds: int,
    epochs: int,
    seed: int = 0,
    progress: Callable[[], object] = lambda: None,
) -> list[tuple[np.ndarray, np.ndarray]]:
    """What networks say of images that they were not trained on.

    Args:
        folds: parts of the images; each is judged by a network of the others.
        progress: called after each epoch of each fold.

    Returns:
        for each example log probabilities float32 [C, h, w] and the heatmap of centres float32 [h, w].
    """
    part = np.random.default_rng(seed).permutation(len(examples)) % folds
    found: list = [None] * len(examples)
    for fold in range(folds):
        torch.manual_seed(seed + fold)
        net = SmallNet(num_classes)
        _train(net, [e for e, p in zip(examples, part) if p != fold], num_classes, epochs, seed + fold, progress)
        for index in np.flatnonzero(part == fold):
            found[index] = _judge(net, examples[index])
    return found


def _train(
    net: SmallNet, examples: Sequence[Example], num_classes: int, epochs: int, seed: int, progress: Callable
) -> None:
    generator, steps = np.random.default_rng(seed), epochs * -(-len(examples) // _BATCH)
    optimizer = torch.optim.Adam(net.parameters(), _RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, _RATE, total_steps=steps + 1)
    images, classes, centres = (torch.from_numpy(np.stack(rows)) for rows in zip(*map(_arrays, examples)))
    for _ in range(epochs):
        for some in np.array_split(generator.permutation(len(examples)), -(-len(examples) // _BATCH)):
            flip = bool(generator.random() < 0.5)
            batch = [
                x[torch.from_numpy(some)].flip(-1) if flip else x[torch.from_numpy(some)]
                for x in (images, classes, centres)
            ]
            output = net(batch[0])
            loss = F.cross_entropy(output[:, :-1], batch[1], ignore_index=num_classes)
            heat = _CENTRE_WEIGHT * F.mse_loss(output[:, -1].sigmoid(), batch[2])
            optimizer.zero_grad()
            (torch.nan_to_num(loss) + heat).backward()  # no label at all: the mean of nothing
            optimizer.step()
            schedule.step()
        progress()


def _arrays(example: Example) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    labels = example.labels
    centres = np.zeros(labels.classes.shape, np.float32) if labels.centres is None else labels.centres
    return example.image, labels.classes, centres


@torch.no_grad()
def _judge(net: SmallNet, example: Example) -> tuple[np.ndarray, np.ndarray]:
    output = net.eval()(torch.from_numpy(example.image)[None])[0]
    return output[:-1].log_softmax(0).numpy(), output[-1].sigmoid().numpy()
