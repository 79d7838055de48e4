"""Deformable attention against transformers' own module, whose parameters it has."""

import copy

import torch
from torch import nn
from transformers.models.mask2former.modeling_mask2former import (
    Mask2FormerPixelDecoderEncoderMultiscaleDeformableAttention as Theirs,
)

from gbw_panoptic.modeling.masks.deformable import DeformableAttention, weighted_sum

LEVELS = [(3, 5), (6, 10), (12, 20)]


def test_outputs_and_gradients_are_those_of_transformers():
    torch.manual_seed(0)
    theirs = Theirs(embed_dim=32, num_heads=4, n_levels=3, n_points=4)
    for parameter in theirs.parameters():
        nn.init.normal_(parameter, std=0.3)
    ours = DeformableAttention(copy.deepcopy(theirs))
    assert {k: v.shape for k, v in ours.state_dict().items()} == {k: v.shape for k, v in theirs.state_dict().items()}
    cells = sum(height * width for height, width in LEVELS)
    references, direction = torch.rand(2, cells, 3, 2), torch.randn(2, cells, 32)
    inputs = [torch.randn(2, cells, 32) for _ in range(3)]  # what asks, what is sampled, positions

    def run(module):
        asking, sampled, positions = tensors = [x.clone().requires_grad_() for x in inputs]
        output, _ = module(
            hidden_states=asking, encoder_hidden_states=sampled, position_embeddings=positions,
            reference_points=references, spatial_shapes_list=LEVELS,
        )  # fmt: skip
        return output, *torch.autograd.grad(output, [*tensors, *module.parameters()], direction)

    for expected, found in zip(run(theirs), run(ours), strict=True):
        expected = expected.detach()
        torch.testing.assert_close(found, expected, atol=2e-5 * expected.abs().max().item(), rtol=0)


def test_a_weighted_sum_has_the_formula_s_value_and_gradients():
    torch.manual_seed(0)
    samples, weights = torch.randn(2, 3, 4, 5).double().requires_grad_(), torch.rand(2, 4, 5).double().requires_grad_()
    torch.testing.assert_close(weighted_sum(samples, weights), torch.einsum("ndkq,nkq->ndq", samples, weights))
    with torch.no_grad():
        without = weighted_sum(samples, weights)
    assert torch.equal(without, weighted_sum(samples, weights))
    assert torch.autograd.gradcheck(weighted_sum, (samples, weights))
