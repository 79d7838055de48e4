"""Products with upsampled features against the definition: upsample, then a loop over the classes."""

import pytest
import torch
import torch.nn.functional as F

from gbw_panoptic.losses import last_layer
from gbw_panoptic.losses.last_layer import last_layer_products

C, A, K = 4, 5, 3


def by_definition(residual, labels, features, stride):
    height, width = labels.shape
    upsampled = F.interpolate(features.unsqueeze(0), scale_factor=stride, mode="bilinear", align_corners=False)
    pixels = upsampled[0, :, :height, :width].flatten(1)
    return torch.stack([(residual.flatten(1) * (labels.flatten() == c)) @ pixels.T for c in range(C)])


@pytest.mark.parametrize("stride", [1, 2, 3, 4, 8])
@pytest.mark.parametrize("cells, missing", [((1, 1), 0), ((2, 5), 0), ((4, 3), 1), ((5, 7), 2)])
@pytest.mark.parametrize("block_rows, numbers", [(1, 1 << 25), (32, 1 << 25), (32, 1), (32, 1000)])
def test_equals_upsampling(stride, cells, missing, block_rows, numbers, monkeypatch):
    monkeypatch.setattr(last_layer, "_BLOCK_ROWS", block_rows)
    monkeypatch.setattr(last_layer, "_NUMBERS", numbers)
    missing = min(missing, stride - 1)  # crops need not be multiples of the stride
    height, width = cells[0] * stride - missing, cells[1] * stride - missing
    generator = torch.Generator().manual_seed(stride)
    residual = torch.randn(A, height, width, generator=generator)
    labels = torch.randint(-1, C + 1, (height, width), generator=generator)
    features = torch.randn(K, *cells, generator=generator)
    products = last_layer_products(residual, labels, features, stride=stride, num_classes=C)
    torch.testing.assert_close(products, by_definition(residual, labels, features, stride), rtol=1e-5, atol=1e-5)


def test_no_pixel_takes_part():
    products = last_layer_products(
        torch.ones(A, 4, 4), torch.full((4, 4), 255), torch.ones(K, 2, 2), stride=2, num_classes=C
    )
    assert products.shape == (C, A, K) and products.abs().sum() == 0


def test_features_that_do_not_cover_the_labels_are_refused():
    with pytest.raises(ValueError, match="Expected features of stride 2 to cover"):
        last_layer_products(
            torch.ones(A, 5, 4), torch.zeros(5, 4, dtype=torch.int64), torch.ones(K, 2, 2), stride=2, num_classes=C
        )
