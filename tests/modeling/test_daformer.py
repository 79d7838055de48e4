"""DAFormer's heads: a naive computation, published sizes, class gradients of the last layer."""

import pytest
import torch
import torch.nn.functional as F
from detectron2.layers import ShapeSpec
from detectron2.modeling import build_model

import gbw_panoptic.modeling  # noqa: F401
from gbw_panoptic.losses import LossShaping
from gbw_panoptic.modeling.heads.daformer import ContextFusion, DAFormerInsEmbedHead, DAFormerSemSegHead
from gbw_panoptic.structures.predictions import DensePrediction

STRIDES = {"res2": 4, "res3": 8, "res4": 16, "res5": 32}


def fusion(channels=(3, 4, 5, 6), *, embedding=7, fused=8, dilations=(1, 2, 3), norm="BN"):
    shapes = {name: ShapeSpec(channels=c, stride=s) for (name, s), c in zip(STRIDES.items(), channels)}
    torch.manual_seed(0)
    return ContextFusion(shapes, embedding_channels=embedding, fused_channels=fused, dilations=dilations, norm=norm)


def maps(channels=(3, 4, 5, 6), size=(64, 96), batch=2):
    torch.manual_seed(1)
    return {
        name: torch.randn(batch, c, -(-size[0] // s), -(-size[1] // s))
        for (name, s), c in zip(STRIDES.items(), channels)
    }


def sem_seg_head(dropout=0.0, **options):
    return DAFormerSemSegHead(
        fusion=fusion(**options), fused_channels=8, dropout=dropout, num_classes=5, ignore_value=255,
        loss_type="cross_entropy", loss_top_k=1.0, shaping=LossShaping(),
    )  # fmt: skip


def normalised(x, norm):
    mean, var = x.mean((0, 2, 3)), x.var((0, 2, 3), unbiased=False)
    x = (x - mean.view(1, -1, 1, 1)) / (var.view(1, -1, 1, 1) + norm.eps).sqrt()
    return torch.relu(x * norm.weight.view(1, -1, 1, 1) + norm.bias.view(1, -1, 1, 1))


def shifted_sum(x, weight, dilation):
    """A depth-wise 3x3 convolution as a sum of nine shifted copies; weight [K, 1, 3, 3]."""
    height, width = x.shape[-2:]
    padded = F.pad(x, [dilation] * 4)
    result = torch.zeros_like(x)
    for row in range(3):
        for column in range(3):
            part = padded[..., row * dilation :, column * dilation :][..., :height, :width]
            result = result + part * weight[:, 0, row, column].view(1, -1, 1, 1)
    return result


@pytest.mark.parametrize("size", [(64, 96), (40, 52)], ids=str)
def test_the_fusion_equals_a_naive_computation(size):
    module, features = fusion().train(), maps(size=size)
    for norm in (m for m in module.modules() if isinstance(m, torch.nn.BatchNorm2d)):
        torch.nn.init.normal_(norm.weight)
        torch.nn.init.normal_(norm.bias)
    embedded = []
    for name in ("res2", "res3", "res4", "res5"):
        layer = module.embeddings[name]
        x = torch.einsum("bchw,kc->bkhw", features[name], layer.weight[:, :, 0, 0]) + layer.bias.view(1, -1, 1, 1)
        embedded.append(F.interpolate(x, size=features["res2"].shape[-2:], mode="bilinear", align_corners=False))
    joined = torch.cat(embedded, 1)
    first = module.branches[0]
    results = [normalised(torch.einsum("bchw,kc->bkhw", joined, first.weight[:, :, 0, 0]), first.norm)]
    for branch, dilation in zip(module.branches[1:], (2, 3)):
        x = normalised(shifted_sum(joined, branch.depthwise.weight, dilation), branch.depthwise.norm)
        x = torch.einsum("bchw,kc->bkhw", x, branch.pointwise.weight[:, :, 0, 0])
        results.append(normalised(x, branch.pointwise.norm))
    expected = normalised(F.conv2d(torch.cat(results, 1), module.bottleneck.weight, padding=1), module.bottleneck.norm)
    torch.testing.assert_close(module(features), expected, rtol=1e-4, atol=1e-4)


def test_parameter_counts_are_those_of_edaps():
    """3,712,275 for 19 classes, 3,708,163 for centre and offset, on MiT-B5."""
    options = {"channels": (64, 128, 320, 512), "embedding": 256, "fused": 256, "dilations": (1, 6, 12, 18)}
    semantic = DAFormerSemSegHead(
        fusion=fusion(**options), fused_channels=256, dropout=0.1, num_classes=19, ignore_value=255,
        loss_type="cross_entropy", loss_top_k=1.0, shaping=LossShaping(),
    )  # fmt: skip
    instances = DAFormerInsEmbedHead(fusion=fusion(**options), fused_channels=256, dropout=0.1)
    assert sum(p.numel() for p in semantic.parameters()) == 3_712_275
    assert sum(p.numel() for p in instances.parameters()) == 3_708_163


def test_logits_are_the_last_convolution_of_the_hidden_features_upsampled():
    head = sem_seg_head(dropout=0.5).train()
    logits, hidden = head(maps())
    assert logits.shape == (2, 5, 64, 96) and hidden.shape == (2, 8, 16, 24)
    assert (hidden == 0).all((2, 3)).any()  # dropped channels: the features are those behind the dropout
    expected = torch.einsum("bkhw,ck->bchw", hidden, head.predictor.weight[:, :, 0, 0])
    torch.testing.assert_close(logits, F.interpolate(expected, scale_factor=4, mode="bilinear"))


def test_centre_and_offset_have_the_size_of_the_input_and_a_bias_of_one_pixel_is_one_pixel():
    head = DAFormerInsEmbedHead(fusion=fusion(), fused_channels=8, dropout=0.0).eval()
    with torch.no_grad():
        head.offset_predictor.weight.zero_()
        head.offset_predictor.bias.copy_(torch.tensor([3.0, -2.0]))
        center, offset = head(maps())
    assert center.shape == (2, 1, 64, 96) and offset.shape == (2, 2, 64, 96)
    torch.testing.assert_close(offset, torch.tensor([3.0, -2.0]).view(1, 2, 1, 1).expand_as(offset))


@pytest.mark.parametrize("size", [(64, 96), (61, 93)], ids=str)
def test_class_gradients_of_the_last_layer_equal_autograd(size):
    """``last_layer`` against differentiating the sum of each class's losses by the weights of the last convolution."""
    head, features = sem_seg_head().train(), maps(size=size)
    torch.manual_seed(2)
    labels = torch.randint(0, 5, (2, *size))
    labels[0, :9] = 255
    weights = torch.rand(2, *size)
    logits, hidden = head(features)
    prediction = DensePrediction(logits[..., : size[0], : size[1]], None, None, hidden, head.common_stride, None)
    found = head.losses(prediction, labels, weights, "last_layer")
    pixels = F.cross_entropy(prediction.sem_seg, labels, ignore_index=255, reduction="none") * weights
    for group in range(5):
        total = pixels[labels == group].sum()
        torch.testing.assert_close(found.total[group], total.double(), rtol=1e-4, atol=1e-4)
        expected = torch.autograd.grad(total, (head.predictor.weight, head.predictor.bias), retain_graph=True)
        expected = torch.cat([expected[0].flatten(1), expected[1].unsqueeze(1)], 1).flatten()
        torch.testing.assert_close(found.gradient[group], expected, rtol=1e-3, atol=1e-2)


@pytest.fixture
def mit(make_cfg):
    """A bottom-up EDAPS in small: MiT-B0 and the two decoders, on Streets at test scale."""
    small = ("INPUT.CROP.SIZE", "(64, 128)")
    return lambda *opts: make_cfg("streets/panoptic_deeplab_mit_b0_source_only.yaml", *small, *opts)


def source_batch(cfg, size=2):
    from gbw_panoptic.data.loader import build_train_loader

    loader = iter(build_train_loader(cfg))
    return [sample for _ in range(size) for sample in next(loader).source]


def test_every_parameter_of_the_model_has_a_gradient(mit):
    """Data-parallel training of the source-only strategy does not search for unused parameters."""
    cfg = mit()
    model = build_model(cfg).train()
    losses = model(source_batch(cfg))
    assert set(losses) == {"loss_sem_seg", "loss_center", "loss_offset"}
    sum(losses.values()).backward()
    assert [n for n, p in model.named_parameters() if p.grad is None or not torch.isfinite(p.grad).all()] == []


@pytest.mark.parametrize("size", [(64, 64), (65, 131), (33, 20)], ids=str)
def test_any_size_and_a_different_output_size(mit, size):
    model = build_model(mit()).eval()
    (result,) = model([{"image": torch.zeros(3, *size, dtype=torch.uint8), "height": 71, "width": 93}])
    assert result["sem_seg"].shape == (19, 71, 93) and result["panoptic_seg"][0].shape == (71, 93)
