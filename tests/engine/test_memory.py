"""Live tensors against sizes that are known."""

import torch
from torch import nn

from gbw_panoptic.engine.memory import LiveTensors, described_peak

MIB = 2**20


def test_a_peak_by_hand():
    layer = nn.Linear(512, 512, bias=False)  # 1 MiB
    with LiveTensors(layer) as live:
        assert live.peak == MIB
        x = torch.zeros(2, MIB // 8)  # 1 MiB
        y = x.view(-1)[3:]  # the same memory
        del x, y
        big = torch.zeros(MIB)  # 4 MiB
        big += 1
        del big
        torch.zeros(MIB // 2)
    assert live.peak == 5 * MIB


def test_what_a_backward_pass_keeps():
    layers = nn.Sequential(*(nn.Sequential(nn.Linear(256, 256), nn.Sigmoid()) for _ in range(4)))
    x = torch.randn(1024, 256)  # each of the 4 outputs of sigmoids, 1 MiB, is kept
    with LiveTensors(layers) as live:
        layers(x).sum().backward()
    assert 4 * MIB < live.peak < 9 * MIB
    with LiveTensors(layers) as without, torch.no_grad():
        layers(x).sum()
    assert without.peak < live.peak - 2 * MIB


def test_the_sentence():
    with described_peak(torch.device("cpu"), nn.Linear(4, 4)) as said:
        torch.zeros(2**28 // 8)
    assert said == ["peak memory of a step 0.13 GiB of tensors, of which a GPU needs some more for its libraries"]
