"""Mask2Former end to end: resume, the strategies that run on it, its optimizer, and that it learns."""

import json

import pytest
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.modeling import build_model
from tiny_runs import NARROW, flat
from torch import nn

from gbw_panoptic.engine import build_trainer
from gbw_panoptic.engine.acquisition import build_predict
from gbw_panoptic.engine.build import resume_or_load
from gbw_panoptic.engine.solver import build_optimizer, clip_full_model
from gbw_panoptic.evaluation.panoptic_quality import PanopticQuality
from gbw_panoptic.validation import validate

CONFIG = "quick/mask2former_source_only.yaml"
TINY = (
    *NARROW, "MODEL.MASK2FORMER.ENCODER_FEEDFORWARD_DIM", 32, "MODEL.MASK2FORMER.DECODER_FEEDFORWARD_DIM", 32,
    "TEST.EVAL_PERIOD", 0, "TEST.NUM_PANELS", 0, "DATASETS.TEST", "()", "SOLVER.MAX_ITER", 4, "MODEL.MASK2FORMER.NUM_QUERIES", 10,
    "MODEL.MASK2FORMER.HIDDEN_DIM", 32, "MODEL.MASK2FORMER.ENCODER_LAYERS", 1, "MODEL.MASK2FORMER.DECODER_LAYERS", 1,
    "MODEL.MASK2FORMER.NUM_POINTS", 64,
)  # fmt: skip
GBW = ("WEIGHTING.CLASSIFICATION", "gbw", "WEIGHTING.MASK", "gbw", "GBW.MOMENTUM", 0.9)
TARGET = ("DATASETS.TARGET", "('cityscapes_uda_images_train',)")


def train(cfg, stop_at=None, resume=False):
    validate(cfg)
    trainer = build_trainer(cfg)
    resume_or_load(trainer, "", resume=resume)
    trainer.train(trainer.start_iter, stop_at or cfg.SOLVER.MAX_ITER)
    return trainer


def last_metrics(folder):
    return json.loads((folder / "metrics.json").read_text().splitlines()[-1])


def whole_and_resumed(make_cfg, tmp_path, *options):
    """Trainers of one run of four iterations, and of one that was stopped after two and resumed."""
    options = (*TINY, *GBW, "TRAINER.DETERMINISTIC", True, *options)
    whole = train(make_cfg(CONFIG, *options, "OUTPUT_DIR", tmp_path / "whole"))
    cut = make_cfg(CONFIG, *options, "OUTPUT_DIR", tmp_path / "cut")
    train(cut, stop_at=2)
    torch.rand(17)  # what ran in between must not matter
    return whole, train(cut, resume=True)


def assert_same_models(whole, resumed):
    parts = [{"model": t.model, "optimizer": t.optimizer, **t.strategy.modules} for t in (whole, resumed)]
    expected, found = (flat({name: part.state_dict() for name, part in p.items()}) for p in parts)
    assert expected.keys() == found.keys() and len(expected) > 300
    for key, tensor in expected.items():
        assert torch.equal(tensor, found[key]), key


@pytest.mark.parametrize("trainer", ["AdversarialTrainer", "EntropyMinimizationTrainer"])
def test_resume_is_exact_with_target_images(make_cfg, tmp_path, trainer):
    options = ("TRAINER.NAME", trainer, "WEIGHTING.TARGET", "gbw", "GBW.GRADIENT", "logits")
    assert_same_models(*whole_and_resumed(make_cfg, tmp_path, *TARGET, *options))


def test_four_iterations_equal_two_and_resume_two(make_cfg, tmp_path):
    whole, resumed = whole_and_resumed(make_cfg, tmp_path)
    assert any("weightings.mask.gradient_norms" in key for key in resumed.model.state_dict())
    assert_same_models(whole, resumed)
    one, two = last_metrics(tmp_path / "whole"), last_metrics(tmp_path / "cut")
    names = [name for name in one if name.startswith("gbw/")]
    assert {n.rsplit("/", 2)[0] for n in names if "/weight/" in n} == {
        f"gbw/source/{x}" for x in ("classification", "mask", "dice")
    }
    assert all(one[name] == two[name] for name in names)  # losses are medians since the resume
    assert {"source/loss_class", "source/loss_mask", "source/loss_dice"} <= set(one)


@pytest.mark.parametrize(
    "trainer, options, term",
    [
        ("AdversarialTrainer", ("WEIGHTING.TARGET", "gbw"), "target/loss_sem_seg_alignment"),
        (
            "EntropyMinimizationTrainer",
            ("WEIGHTING.TARGET", "gbw", "GBW.GRADIENT", "pixel"),
            "target/loss_sem_seg_entropy",
        ),
        ("EntropyMinimizationTrainer", ("ENTROPY.LOSS", "maximum_squares"), "target/loss_sem_seg_maximum_squares"),
    ],
)
def test_alignment_and_entropy_run_on_the_semantic_output(make_cfg, tmp_path, trainer, options, term):
    cfg = make_cfg(CONFIG, *TINY, *TARGET, "TRAINER.NAME", trainer, "SOLVER.MAX_ITER", 1, *options)
    trained = train(cfg)
    assert last_metrics(tmp_path / "run")[term] != 0
    assert all(p.grad is not None and p.grad.isfinite().all() for p in trained.model.parameters())


def test_acquisition_reads_the_semantic_output(make_cfg):
    cfg = make_cfg(CONFIG, *TINY, "INPUT.MIN_SIZE_TEST", 32, "INPUT.MAX_SIZE_TEST", 64)
    records = DatasetCatalog.get("cityscapes_uda_panoptic_val")[:2]
    for probabilities in build_predict(cfg, build_model(cfg))(records):
        assert probabilities.shape == (19, 128, 256)
        torch.testing.assert_close(probabilities.sum(dim=0), torch.ones(128, 256))


def test_optimizer_of_the_released_configuration(make_cfg):
    cfg = make_cfg(
        "synthia_to_cityscapes/mask2former_R50_source_only.yaml", "MODEL.DEVICE", "cpu", "MODEL.RESNETS.NORM", "BN"
    )
    model = build_model(cfg)
    optimizer = build_optimizer(cfg, model)
    found = {p: (group["lr"], group["weight_decay"]) for group in optimizer.param_groups for p in group["params"]}
    modules = dict(model.named_modules())
    for name, parameter in model.named_parameters():
        module, last = modules[name.rpartition(".")[0]], name.rpartition(".")[2]
        free = isinstance(module, (nn.BatchNorm2d, nn.GroupNorm, nn.LayerNorm, nn.Embedding)) or last == "level_embed"
        assert found[parameter] == (1e-5 if name.startswith("backbone.") else 1e-4, 0.0 if free else 0.05), name
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    norms = torch.stack([p.grad.norm() for p in model.parameters()])
    assert norms.norm().item() == pytest.approx(0.01, rel=1e-3)  # of all together, not of each


def test_small_gradients_are_not_enlarged():
    layer = nn.Linear(2, 2)
    optimizer = torch.optim.SGD(layer.parameters(), 0.1)
    clip_full_model(optimizer, 1.0, norm_type=2.0)
    for parameter in layer.parameters():
        parameter.grad = torch.full_like(parameter, 0.1)
    optimizer.step()
    assert (layer.weight.grad == 0.1).all()


def scene(index, thing_ids, size=(96, 160)):
    """Bands of sky, building and road with rectangles of two things, and the sample that a source mapper would make."""
    generator = torch.Generator().manual_seed(index)
    height, width = size
    sem_seg = torch.zeros(size, dtype=torch.int64)
    sem_seg[: height // 4 + 8 * index % 16], sem_seg[height // 4 + 8 * index % 16 : height // 2] = 10, 2
    ids, classes = torch.zeros(size, dtype=torch.int64), []
    for place in range(2 + index % 2):
        top, left = 40 + 8 * int(torch.randint(0, 2, (), generator=generator)), 8 + 52 * place
        window = (slice(top, top + 32), slice(left, left + 28))
        classes.append(thing_ids[(index + place) % 2])
        ids[window], sem_seg[window] = len(classes), classes[-1]
    colors = torch.randint(40, 215, (19, 3), generator=torch.Generator().manual_seed(9)).float()
    image = colors[sem_seg] + 20 * torch.randn(*size, 3, generator=generator) + 30 * (ids % 2)[..., None]
    image = image.clamp(0, 255).permute(2, 0, 1).to(torch.uint8)
    values, numbers = torch.where(ids > 0, 100 + ids, sem_seg).unique(return_inverse=True)
    of_segments = torch.tensor([classes[v - 101] if v > 100 else v for v in values.tolist()])
    return {
        "image": image,
        "sem_seg": sem_seg,
        "instance_ids": ids,
        "segment_ids": numbers + 1,
        "segment_classes": of_segments,
    }


def panoptic_quality(model, samples, taxonomy):
    quality = PanopticQuality(taxonomy.categories())
    segments = lambda values: [{"id": v, "category_id": taxonomy.dataset_ids[v // 1000]} for v in values]  # noqa: E731
    for sample, output in zip(samples, model.eval()(samples)):
        truth = torch.where(
            sample["instance_ids"] > 0, sample["sem_seg"] * 1000 + sample["instance_ids"], sample["sem_seg"] * 1000
        )
        found = output["panoptic_seg"][0]
        # 0 is void in panoptic maps of ids, and road's value here
        listed = [segments([v for v in x.unique().tolist() if v >= 0]) for x in (found, truth)]
        for of_map in listed:
            for segment in of_map:
                segment["id"] += 1
        quality.update(found + 1, listed[0], truth + 1, listed[1])
    return quality.compute()["All"]["PQ"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "config", [CONFIG, "streets/mask2former_vit_source_only.yaml", "streets/eomt_source_only.yaml"]
)
def test_it_fits_four_images_to_a_pq_above_90(make_cfg, config):
    cfg = make_cfg(
        config, "MODEL.MASK2FORMER.NUM_QUERIES", 15, "MODEL.MASK2FORMER.NUM_POINTS", 512, "SOLVER.BASE_LR", 1e-3
    )
    taxonomy = MetadataCatalog.get(cfg.DATASETS.TRAIN[0]).taxonomy
    torch.manual_seed(0)
    model = build_model(cfg)
    samples = [scene(index, taxonomy.ids("car", "person")) for index in range(4)]
    assert all(len(x["segment_classes"]) >= 5 for x in samples)
    optimizer = build_optimizer(cfg, model)
    before = panoptic_quality(model, samples, taxonomy)
    assert before < 20
    for step in range(100):
        for group in optimizer.param_groups:
            group["lr"] = 1e-3 * (1 - step / 100) ** 0.9
        optimizer.zero_grad()
        sum(model.train()(samples).values()).backward()
        optimizer.step()
    assert panoptic_quality(model, samples, taxonomy) > 90
