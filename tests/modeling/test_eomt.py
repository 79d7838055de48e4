"""EoMT: transformers' model at one size, other sizes, the annealing of masks, learning rates, what it refuses."""

import pytest
import torch
import transformers
from detectron2.modeling import build_model

from gbw_panoptic.engine.solver import build_optimizer
from gbw_panoptic.errors import UserError
from gbw_panoptic.modeling.backbones.vit import ViT
from gbw_panoptic.modeling.masks.encoder_only import EncoderOnlyHead, attention_mask, mask_probabilities, unrotated
from gbw_panoptic.validation import validate

CONFIG = "streets/eomt_source_only.yaml"


def parts(variant="dinov2_tiny_reg", patch=16, blocks=2):
    torch.manual_seed(1)
    vit = ViT(
        variant=variant, patch_size=patch, positions="facebookresearch", drop_path_rate=0.0, pyramid_channels=32, pyramid_norm="LN",
        gradient_checkpointing=False, out_features=("res2",),
    )  # fmt: skip
    vit.pyramid.clear()
    return vit, EncoderOnlyHead(vit, num_classes=5, num_queries=7, num_blocks=blocks)


def theirs():
    config = transformers.EomtConfig(
        hidden_size=128, num_hidden_layers=4, num_attention_heads=4, image_size=592, patch_size=16, num_blocks=2, num_queries=7, num_labels=5,
    )  # fmt: skip
    torch.manual_seed(2)
    network = transformers.EomtForUniversalSegmentation(config).eval()
    for parameter in network.parameters():  # decided masks, some patches of every query's in and some out
        parameter.data += 0.05 * torch.randn_like(parameter)
    return network


def take(vit, head, network):
    """Give transformers' weights to both parts."""
    state, used = network.state_dict(), set()

    def of(name):
        used.add(name)
        return state[name]

    own = {"pos_embed": of("embeddings.position_embeddings.weight")[None]}
    own["model.cls_token"], own["model.reg_token"] = of("embeddings.cls_token"), of("embeddings.register_tokens")
    pairs = {"model.patch_embed.proj": "embeddings.patch_embeddings.projection", "model.norm": "layernorm"}
    for i in range(4):
        block, layer = f"model.blocks.{i}.", f"layers.{i}."
        for end in ("weight", "bias"):
            own[f"{block}attn.qkv.{end}"] = torch.cat([of(f"{layer}attention.{x}_proj.{end}") for x in "qkv"])
        own |= {f"{block}ls{x}.gamma": of(f"{layer}layer_scale{x}.lambda1") for x in (1, 2)}
        names = {
            "norm1": "norm1",
            "norm2": "norm2",
            "attn.proj": "attention.out_proj",
            "mlp.fc1": "mlp.fc1",
            "mlp.fc2": "mlp.fc2",
        }
        pairs |= {block + ours: layer + x for ours, x in names.items()}
    own |= {f"{ours}.{end}": of(f"{x}.{end}") for ours, x in pairs.items() for end in ("weight", "bias")}
    vit.load_state_dict(own)
    pairs = {f"mask_embedding.{2 * i}": f"mask_head.fc{i + 1}" for i in range(3)} | {
        "class_predictor": "class_predictor"
    }
    for i in range(2):
        names = {0: "conv1", 2: "conv2", 3: "layernorm2d"}
        pairs |= {f"upscaling.{i}.{number}": f"upscale_block.block.{i}.{name}" for number, name in names.items()}
    found = {
        f"{ours}.{end}": of(f"{x}.{end}")
        for ours, x in pairs.items()
        for end in ("weight", "bias")
        if f"{x}.{end}" in state
    }
    head.load_state_dict({**found, "queries.weight": of("query.weight"), "masked": head.masked})
    assert state.keys() - used <= {"attn_mask_probs", "criterion.empty_weight", "embeddings.mask_token"}


@torch.no_grad()
@pytest.mark.parametrize("masked", [True, False])
def test_head_and_blocks_are_those_of_transformers(masked):
    network = theirs()
    network.attn_mask_probs.fill_(float(masked))
    vit, head = parts()
    take(vit, head, network)
    head.masked.fill_(masked)
    image = torch.randn(1, 3, 592, 592)
    expected, found = network(image), head.eval()(vit.eval(), image)
    assert len(found.class_logits) == (3 if masked else 1)
    torch.testing.assert_close(found.class_logits[-1], expected.class_queries_logits, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(found.mask_logits[-1], expected.masks_queries_logits, atol=1e-5, rtol=1e-5)
    if masked:  # the masks decide something
        share = (found.mask_logits[0] > 0).float().mean()
        assert 0.05 < share < 0.95
        head.masked.fill_(False)
        assert (head(vit, image).class_logits[-1] - expected.class_queries_logits).abs().max() > 1e-3


@pytest.mark.parametrize(
    "variant, patch", [("dinov2_tiny_reg", 16), ("dinov2_tiny", 8), ("dinov3_tiny", 16), ("dinov2_tiny", 4)]
)
@pytest.mark.parametrize("training", [True, False])
def test_shapes_at_other_sizes_and_a_gradient_for_every_parameter(variant, patch, training):
    vit, head = (part.train(training) for part in parts(variant, patch))
    head.anneal(0.0 if training else 1.0)
    output = head(vit, torch.randn(2, 3, 48, 80))
    assert len(output.class_logits) == len(output.mask_logits) == (3 if training else 1)
    assert {tuple(x.shape) for x in output.class_logits} == {(2, 7, 6)}
    assert {tuple(x.shape) for x in output.mask_logits} == {(2, 7, 12, 20)}
    assert torch.equal(head.class_predictor(output.hidden), output.class_logits[-1])
    sum(x.square().mean() for x in (*output.class_logits, *output.mask_logits)).backward()
    parameters = (*vit.named_parameters(), *head.named_parameters())
    assert [name for name, p in parameters if p.grad is None or not p.grad.isfinite().all()] == []


@torch.no_grad()
def test_queries_have_no_rotary_position():
    vit, head = parts("dinov3_tiny")
    vit.eval()
    x, size = vit.embed(torch.randn(1, 3, 48, 80))
    queries, rope, block = head.queries.weight[None], vit.rotary(size)["rope"], vit.model.blocks[1]
    found = block(torch.cat((x, queries), dim=1), rope=unrotated(rope, 7))
    block.attn.num_prefix_tokens += 7  # tokens that timm does not rotate
    expected = block(torch.cat((queries, x), dim=1), rope=rope)
    torch.testing.assert_close(found, expected.roll(-7, dims=1), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    "progress, blocks, expected",
    [
        (0.0, 4, (1, 1, 1, 1)),
        (0.25, 4, (0.5**0.9, 1, 1, 1)),
        (0.375, 4, (0, 0.75**0.9, 1, 1)),
        (0.51, 4, (0, 0, 0.94**0.9, 1)),
        (0.75, 4, (0, 0, 0, 0.5**0.9)),
        (0.9, 4, (0, 0, 0, 0)),
        (0.25, 3, (0.5**0.9, 1, 1)),
        (0.5, 3, (0, 0.5**0.9, 1)),  # 5/12 to 7/12
        (0.75, 3, (0, 0, 0.5**0.9)),
        (0.25, 1, (0.5**0.9,)),
    ],
)
def test_the_published_annealing(progress, blocks, expected):
    assert mask_probabilities(progress, blocks) == pytest.approx(expected, abs=1e-9)


def test_who_may_look_at_what():
    masks = torch.full((1, 2, 4, 8), -1.0)
    masks[0, 1, :, 4:] = 1.0  # the second query: the right patch of two
    allowed = attention_mask(masks, (1, 2), 1, 1.0)
    expected = torch.ones(5, 5, dtype=torch.bool)  # the prefix, two patches, two queries
    expected[3, 1:3], expected[4, 1] = False, False
    assert allowed.dtype == torch.bool and torch.equal(allowed, expected[None, None])
    assert attention_mask(masks, (1, 2), 1, 0.0) is None
    torch.manual_seed(0)
    drawn = attention_mask(masks.expand(50, 2, 4, 8).repeat(1, 50, 1, 1), (1, 2), 1, 0.3)
    restricted = ~drawn[:, 0, 3:, 1]  # of 5000 queries, that see the left patch or not
    assert restricted.float().mean() == pytest.approx(0.3, abs=0.03) and drawn[:, :, :3].all()


def test_evaluation_keeps_masks_until_their_probability_is_a_half():
    vit, head = parts(blocks=2)
    image = torch.randn(1, 3, 48, 80)
    for progress, expected in ((0.1, [True, True]), (0.24, [True, True]), (0.3, [False, True]), (1.0, [False, False])):
        head.anneal(progress)
        assert head.masked.tolist() == expected
        one, two = (head.eval()(vit.eval(), image) for _ in range(2))
        assert torch.equal(one.class_logits[-1], two.class_logits[-1]) and len(one.class_logits) == 1 + sum(expected)


def test_learning_rates_fall_with_depth_in_the_vit_alone(make_cfg):
    options = ("SOLVER.BASE_LR", 1.0, "SOLVER.LAYER_DECAY", 0.5, "SOLVER.WEIGHT_DECAY", 0.05)
    cfg = make_cfg(CONFIG, *options)
    model = build_model(cfg)
    names = {parameter: name for name, parameter in model.named_parameters()}
    groups = build_optimizer(cfg, model).param_groups
    found = {names[p]: (group["lr"], group["weight_decay"]) for group in groups for p in group["params"]}
    assert found.keys() == set(names.values()) and not any("pyramid" in name for name in found)
    expected = {
        "backbone.model.norm.weight": (1.0, 0), "backbone.model.blocks.3.attn.qkv.weight": (0.5, 0.05),
        "backbone.model.blocks.0.mlp.fc1.weight": (0.0625, 0.05), "backbone.pos_embed": (0.03125, 0), "mask_head.queries.weight": (1.0, 0),
        "mask_head.class_predictor.weight": (1.0, 0.05), "mask_head.upscaling.0.3.weight": (1.0, 0),
    }  # fmt: skip
    for name, pair in expected.items():
        assert found[name] == pytest.approx(pair), name


@pytest.mark.parametrize(
    "opts, words",
    [
        (
            ("MODEL.BACKBONE.NAME", "build_resnet_backbone"),
            "BACKBONE.NAME: expected build_vit_backbone with DomainAdaptiveEoMT, found",
        ),
        (
            ("SELF_TRAINING.FEATURE_DISTANCE.ENABLED", True),
            "FEATURE_DISTANCE.ENABLED: expected False with DomainAdaptiveEoMT",
        ),
        (("MODEL.COMPILE", True), "MODEL.COMPILE: expected False with DomainAdaptiveEoMT"),
        (
            ("MODEL.EOMT.NUM_BLOCKS", 5),
            "MODEL.EOMT.NUM_BLOCKS: expected at most 4, the depth of MODEL.VIT.VARIANT, found 5",
        ),
    ],
)
def test_what_it_cannot_do_is_one_sentence(make_cfg, opts, words):
    cfg = make_cfg("streets/eomt_self_training.yaml", *opts)
    with pytest.raises(UserError, match=words) as caught:
        validate(cfg)
        build_model(cfg)
    assert "\n" not in str(caught.value)
