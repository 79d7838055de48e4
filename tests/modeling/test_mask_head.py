"""The mask head: initialisation, shapes, precision, and what it refuses."""

import math
import socket
import sys

import pytest
import torch
from detectron2.layers import ShapeSpec

from gbw_panoptic.errors import UserError
from gbw_panoptic.modeling.masks.head import MaskHead

SHAPES = {f"res{i}": ShapeSpec(channels=8 * 2**i, stride=2**i) for i in (2, 3, 4, 5)}
OPTIONS = dict(
    num_classes=5, num_queries=7, hidden_dim=32, num_heads=4, encoder_layers=2, encoder_feedforward_dim=48,
    decoder_layers=3,
    decoder_feedforward_dim=64,
)  # fmt: skip


def features(height, width, batch=2):
    return {
        name: torch.randn(batch, s.channels, math.ceil(height / s.stride), math.ceil(width / s.stride))
        for name, s in SHAPES.items()
    }


@pytest.fixture(scope="module")
def head():
    torch.manual_seed(0)
    return MaskHead(SHAPES, **OPTIONS)


@pytest.mark.parametrize("size", [(64, 96), (60, 100)])
def test_shapes(head, size):
    output = head(features(*size))
    assert len(output.class_logits) == len(output.mask_logits) == 4  # three layers and the raw queries
    assert {tuple(x.shape) for x in output.class_logits} == {(2, 7, 6)}
    assert {tuple(x.shape) for x in output.mask_logits} == {(2, 7, size[0] // 4, size[1] // 4)}
    assert torch.equal(head.class_predictor(output.hidden), output.class_logits[-1])


def test_every_parameter_gets_a_gradient(head):
    head.zero_grad()
    output = head(features(64, 64))
    sum(x.square().mean() for x in (*output.class_logits, *output.mask_logits)).backward()
    assert [name for name, p in head.named_parameters() if p.grad is None or not p.grad.isfinite().all()] == []


def test_initialisation_is_the_original_s(head):
    """Bare modules of transformers hold uninitialised memory; its own initialisation differs from the original's."""
    for layer in head.pixel_decoder.encoder.layers:
        bias = layer.self_attn.sampling_offsets.bias.view(4, 3, 4, 2)  # heads, levels, points, (x, y)
        for angle, of_head in enumerate(bias):
            direction = torch.tensor([math.cos(angle * math.pi / 2), math.sin(angle * math.pi / 2)])
            expected = direction * torch.arange(1, 5).view(4, 1)
            torch.testing.assert_close(of_head, expected.expand(3, 4, 2), atol=1e-5, rtol=0)
        assert not layer.self_attn.sampling_offsets.weight.any() and not layer.self_attn.attention_weights.weight.any()
        assert layer.fc1.weight.abs().max() <= math.sqrt(6 / (32 + 48))  # Xavier
        assert layer.fc1.weight.std().item() == pytest.approx(math.sqrt(2 / (32 + 48)), rel=0.1)
    assert 0.5 < head.pixel_decoder.level_embed.std() < 1.5
    for layer in head.transformer.decoder.layers:
        bound = math.sqrt(6 / (32 + 96))  # one matrix for queries, keys and values in the original
        for weight in (layer.self_attn.q_proj.weight, layer.cross_attn.in_proj_weight):
            assert 0.9 * bound < weight.abs().max() <= bound
        assert not layer.self_attn.k_proj.bias.any() and not layer.cross_attn.in_proj_bias.any()
    assert head.transformer.queries_features.weight.std().item() == pytest.approx(1, abs=0.2)


def test_two_heads_of_one_seed_are_equal(head):
    torch.manual_seed(0)
    again = MaskHead(SHAPES, **OPTIONS)
    assert all(torch.equal(a, b) for a, b in zip(head.parameters(), again.parameters(), strict=True))


def test_the_pixel_decoder_stays_in_float32(head):
    seen = []
    handle = head.pixel_decoder.register_forward_hook(
        lambda module, args, output: seen.append(output.mask_features.dtype)
    )
    with torch.autocast("cpu", torch.bfloat16):
        output = head({name: x.bfloat16() for name, x in features(64, 64).items()})
    handle.remove()
    assert seen == [torch.float32] and output.class_logits[0].dtype == torch.bfloat16


def test_nothing_is_asked_of_a_network(monkeypatch):
    def refuse(*args):
        raise AssertionError("a connection was attempted")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    assert MaskHead(SHAPES, **OPTIONS).in_features == ("res2", "res3", "res4", "res5")


def test_a_backbone_without_a_stride_is_refused():
    with pytest.raises(UserError, match="strides 4, 8, 16 and 32 for Mask2Former, found 4, 8, 32"):
        MaskHead({k: v for k, v in SHAPES.items() if k != "res4"}, **OPTIONS)


def test_without_transformers_one_sentence_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers.models.mask2former.modeling_mask2former", None)
    with pytest.raises(UserError, match=r"DomainAdaptiveMask2Former: expected the package transformers.*pip install"):
        MaskHead(SHAPES, **OPTIONS)
