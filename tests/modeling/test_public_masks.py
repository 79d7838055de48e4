"""Published Mask2Former weights: transformers' model gives the same predictions, the authors' layout the same
tensors."""

import logging

import pytest
import torch
from torch import nn
from transformers import Mask2FormerConfig, Mask2FormerForUniversalSegmentation, SwinConfig

from gbw_panoptic.engine.checkpoint import SafeCheckpointer, read_checkpoint
from gbw_panoptic.errors import UserError
from gbw_panoptic.modeling.backbones import Swin
from gbw_panoptic.modeling.masks.head import MaskHead
from gbw_panoptic.modeling.published.names import split_head

OPTIONS = dict(
    num_queries=6, hidden_dim=32, num_heads=4, encoder_layers=2, encoder_feedforward_dim=48, decoder_layers=3,
    decoder_feedforward_dim=64,
)  # fmt: skip


class Model(nn.Module):
    def __init__(self, num_classes=5, **options):
        super().__init__()
        self.backbone = Swin(
            variant="t", window_size=7, drop_path_rate=0.0, out_features=("res2", "res3", "res4", "res5")
        )
        self.mask_head = MaskHead(self.backbone.output_shape(), num_classes=num_classes, **OPTIONS | options)


@pytest.fixture(scope="module")
def theirs():
    torch.manual_seed(0)
    config = Mask2FormerConfig(
        backbone_config=SwinConfig(window_size=7, out_features=["stage1", "stage2", "stage3", "stage4"]),
        feature_size=32, mask_feature_size=32, hidden_dim=32, num_attention_heads=4, num_queries=6, encoder_layers=2,
        encoder_feedforward_dim=48, decoder_layers=4, dim_feedforward=64, num_labels=5,
    )  # fmt: skip
    return Mask2FormerForUniversalSegmentation(config).eval()


@pytest.fixture
def file(theirs, tmp_path):
    torch.save(theirs.state_dict(), tmp_path / "weights.pth")
    return str(tmp_path / "weights.pth")


def test_transformers_weights_give_the_same_predictions(theirs, file):
    model = Model().eval()
    SafeCheckpointer(model).load(file)
    images = torch.randn(1, 3, 224, 224)
    with torch.no_grad():
        output, expected = model.mask_head(model.backbone(images)), theirs(images)
    torch.testing.assert_close(output.class_logits[-1], expected.class_queries_logits, atol=1e-4, rtol=1e-3)
    torch.testing.assert_close(output.mask_logits[-1], expected.masks_queries_logits, atol=1e-3, rtol=1e-3)


def test_a_class_prediction_of_another_length_is_left_out_and_said(file, caplog):
    model = Model(num_classes=7)
    before = model.mask_head.class_predictor.weight.clone()
    with caplog.at_level(logging.WARNING, "gbw_panoptic"):
        SafeCheckpointer(model).load(file)
    assert "for 5 classes, the model for 7" in caplog.text
    assert torch.equal(model.mask_head.class_predictor.weight, before)


def test_a_head_of_another_size_is_refused(file):
    with pytest.raises(UserError, match=r"mask head in .*queries.*\(6, 32\) instead of \(9, 32\)\)"):
        SafeCheckpointer(Model(num_queries=9)).load(file)


def authors_names(state):
    """Our head's tensors under the authors' names, by hand for one layer of each kind."""
    encoder, decoder = "pixel_decoder.encoder.layers.1.", "transformer.decoder.layers.2."
    theirs, predictor = "sem_seg_head.pixel_decoder.", "sem_seg_head.predictor."
    self_attention = f"{predictor}transformer_self_attention_layers.2."
    cross_attention, ffn = f"{predictor}transformer_cross_attention_layers.2.", f"{predictor}transformer_ffn_layers.2."
    pairs = {
        f"{theirs}input_proj.0.0.weight": "pixel_decoder.input_projections.0.0.weight",
        f"{theirs}input_proj.2.1.bias": "pixel_decoder.input_projections.2.1.bias",
        f"{theirs}transformer.level_embed": "pixel_decoder.level_embed",
        f"{theirs}transformer.encoder.layers.1.self_attn.sampling_offsets.bias": f"{encoder}self_attn.sampling_offsets.bias",
        f"{theirs}transformer.encoder.layers.1.norm1.weight": f"{encoder}self_attn_layer_norm.weight",
        f"{theirs}transformer.encoder.layers.1.linear1.weight": f"{encoder}fc1.weight",
        f"{theirs}transformer.encoder.layers.1.linear2.bias": f"{encoder}fc2.bias",
        f"{theirs}transformer.encoder.layers.1.norm2.bias": f"{encoder}final_layer_norm.bias",
        f"{theirs}mask_features.weight": "pixel_decoder.mask_projection.weight",
        f"{theirs}adapter_1.weight": "pixel_decoder.adapter_1.0.weight",
        f"{theirs}adapter_1.norm.weight": "pixel_decoder.adapter_1.1.weight",
        f"{theirs}layer_1.weight": "pixel_decoder.layer_1.0.weight",
        f"{theirs}layer_1.norm.bias": "pixel_decoder.layer_1.1.bias",
        f"{self_attention}self_attn.out_proj.weight": f"{decoder}self_attn.out_proj.weight",
        f"{self_attention}norm.weight": f"{decoder}self_attn_layer_norm.weight",
        f"{cross_attention}multihead_attn.in_proj_weight": f"{decoder}cross_attn.in_proj_weight",
        f"{cross_attention}norm.bias": f"{decoder}cross_attn_layer_norm.bias",
        f"{ffn}linear1.weight": f"{decoder}fc1.weight",
        f"{ffn}norm.weight": f"{decoder}final_layer_norm.weight",
        f"{predictor}decoder_norm.weight": "transformer.decoder.layernorm.weight",
        f"{predictor}query_feat.weight": "transformer.queries_features.weight",
        f"{predictor}query_embed.weight": "transformer.queries_embedder.weight",
        f"{predictor}level_embed.weight": "transformer.level_embed.weight",
        f"{predictor}mask_embed.layers.2.weight": "transformer.decoder.mask_predictor.mask_embedder.2.0.weight",
        f"{predictor}class_embed.bias": "class_predictor.bias",
    }
    joint = {
        f"{self_attention}self_attn.in_proj_{kind}": torch.cat(
            [state[f"{decoder}self_attn.{x}_proj.{kind}"] for x in "qkv"]
        )
        for kind in ("weight", "bias")
    }
    ours = {*pairs.values(), *(f"{decoder}self_attn.{x}_proj.{kind}" for x in "qkv" for kind in ("weight", "bias"))}
    return {name: state[own] for name, own in pairs.items()} | joint, ours


def test_the_authors_layout(theirs):
    torch.manual_seed(1)
    state = {name: torch.randn(x.shape) for name, x in Model().mask_head.state_dict().items()}
    published, ours = authors_names(state)
    rest = {"backbone.res2.0.conv1.weight": torch.zeros(1), "criterion.empty_weight": torch.zeros(1)}
    head, others = split_head(published | rest)
    assert head.keys() == ours and all(torch.equal(head[name], state[name]) for name in head)
    assert list(others) == ["backbone.res2.0.conv1.weight"]
    # every name of ours is of a kind that the table covers: nothing is invented, nothing forgotten
    kinds = {"".join(c for c in name if not c.isdigit()) for name in state}
    covered = {"".join(c for c in name if not c.isdigit()) for name in ours}
    same_module = {kind.rpartition(".")[0] for kind in covered}
    attention = {
        "pixel_decoder.encoder.layers..self_attn." + x for x in ("attention_weights", "value_proj", "output_proj")
    }
    assert {kind.rpartition(".")[0] for kind in kinds} - same_module - attention == {
        "transformer.decoder.layers..cross_attn.out_proj"
    }


def test_joint_projections_are_split_in_torch_s_order():
    """Queries, keys and values of nn.MultiheadAttention, which the authors have, in transformers' attention."""
    torch.manual_seed(0)
    joint, attention = nn.MultiheadAttention(32, 4), Model().mask_head.transformer.decoder.layers[0].self_attn
    nn.init.normal_(joint.in_proj_bias)
    prefix = "sem_seg_head.predictor.transformer_self_attention_layers.0.self_attn."
    head, _ = split_head({prefix + name: x for name, x in joint.state_dict().items()})
    attention.load_state_dict({name.rpartition("self_attn.")[2]: x for name, x in head.items()})
    x, position = torch.randn(6, 2, 32), torch.randn(6, 2, 32)
    expected = joint(x + position, x + position, x)[0]
    torch.testing.assert_close(attention(x, position_embeddings=position)[0], expected, atol=1e-5, rtol=1e-4)


def test_a_pickle_is_not_read(tmp_path):
    (tmp_path / "model.pkl").write_bytes(b"anything")
    with pytest.raises(UserError, match="found the pickle .*was not read; .*convert it once: python -c") as caught:
        read_checkpoint(str(tmp_path / "model.pkl"))
    assert "\n" not in str(caught.value)
