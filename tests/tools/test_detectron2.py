"""The installed Detectron2, whichever it is, does what this project needs of it."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from detectron2.checkpoint import DetectionCheckpointer
from detectron2.config import CfgNode, get_cfg
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.evaluation import COCOPanopticEvaluator, SemSegEvaluator
from detectron2.modeling import build_model
from detectron2.projects.deeplab import build_lr_scheduler
from detectron2.projects.panoptic_deeplab import PanopticDeeplabDatasetMapper, add_panoptic_deeplab_config
from detectron2.solver import build_optimizer
from detectron2.utils.visualizer import Visualizer

HEIGHT, WIDTH, CLASSES = 64, 128, 5
THINGS = (3, 4)


@pytest.fixture
def metadata():
    """A registered data set of three stuff and two thing classes; forgotten afterwards."""
    name = "test_detectron2_tiny"
    names = ["road", "wall", "sky", "person", "car"]
    ids = {class_id + 1: class_id for class_id in range(CLASSES)}
    things = {data_id: class_id for data_id, class_id in ids.items() if class_id in THINGS}
    metadata = MetadataCatalog.get(name).set(
        thing_classes=names,
        stuff_classes=names,
        stuff_colors=[(40 * i, 20 * i, 255 - 40 * i) for i in range(CLASSES)],
        thing_colors=[(40 * i, 20 * i, 255 - 40 * i) for i in range(CLASSES)],
        thing_dataset_id_to_contiguous_id=things,
        stuff_dataset_id_to_contiguous_id=ids,
        label_divisor=1000,
        ignore_label=255,
    )
    yield metadata
    MetadataCatalog.remove(name)


def tiny_config(dataset: str) -> CfgNode:
    """Panoptic-DeepLab with a ResNet-18 and narrow heads, on the CPU."""
    cfg = get_cfg()
    add_panoptic_deeplab_config(cfg)
    cfg.MODEL.DEVICE = "cpu"
    cfg.MODEL.META_ARCHITECTURE = "PanopticDeepLab"
    cfg.MODEL.BACKBONE.NAME = "build_resnet_backbone"
    cfg.MODEL.BACKBONE.FREEZE_AT = 0
    cfg.MODEL.RESNETS.merge_from_other_cfg(CfgNode(dict(DEPTH=18, RES2_OUT_CHANNELS=64, NORM="BN")))
    cfg.MODEL.RESNETS.OUT_FEATURES = ["res2", "res3", "res5"]
    cfg.MODEL.SEM_SEG_HEAD.NAME = "PanopticDeepLabSemSegHead"
    cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES = CLASSES
    cfg.MODEL.SEM_SEG_HEAD.LOSS_TYPE = "hard_pixel_mining"
    for head, widths in ((cfg.MODEL.SEM_SEG_HEAD, 32), (cfg.MODEL.INS_EMBED_HEAD, 16)):
        head.NORM = "BN"
        head.IN_FEATURES = ["res2", "res3", "res5"]
        head.PROJECT_FEATURES = ["res2", "res3"]
        head.PROJECT_CHANNELS = [16, 16]
        head.ASPP_CHANNELS = head.CONVS_DIM = head.HEAD_CHANNELS = widths
    cfg.MODEL.SEM_SEG_HEAD.USE_DEPTHWISE_SEPARABLE_CONV = True
    cfg.MODEL.PANOPTIC_DEEPLAB.USE_DEPTHWISE_SEPARABLE_CONV = True
    cfg.MODEL.PANOPTIC_DEEPLAB.CENTER_THRESHOLD = 0.001
    cfg.MODEL.PANOPTIC_DEEPLAB.STUFF_AREA = 16
    cfg.INPUT.CROP.ENABLED = True
    cfg.INPUT.CROP.TYPE = "absolute"
    cfg.INPUT.CROP.SIZE = (HEIGHT, WIDTH)
    cfg.INPUT.MIN_SIZE_TRAIN = (HEIGHT,)
    cfg.SOLVER.LR_SCHEDULER_NAME = "WarmupPolyLR"
    cfg.DATASETS.TRAIN = (dataset,)
    return cfg


def write_record(folder, metadata) -> dict:
    """Write an image with one car on a road as COCO-panoptic files; return its record."""
    panoptic = np.full((HEIGHT, WIDTH, 3), (1, 0, 0), np.uint8)
    panoptic[20:40, 30:60] = (2, 0, 0)
    colours = np.random.default_rng(0).integers(0, 255, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    Image.fromarray(colours).save(folder / "image.png")
    Image.fromarray(panoptic).save(folder / "panoptic.png")
    segments = [
        {"id": 1, "category_id": 0, "iscrowd": 0, "area": HEIGHT * WIDTH - 600, "bbox": [0, 0, WIDTH, HEIGHT]},
        {"id": 2, "category_id": 4, "iscrowd": 0, "area": 600, "bbox": [30, 20, 30, 20]},
    ]
    truth = {
        "images": [{"id": "image", "file_name": "image.png", "height": HEIGHT, "width": WIDTH}],
        "annotations": [
            {
                "image_id": "image",
                "file_name": "panoptic.png",
                "segments_info": [{**s, "category_id": s["category_id"] + 1} for s in segments],
            }
        ],
        "categories": [
            {"id": i + 1, "name": name, "isthing": int(i in THINGS)} for i, name in enumerate(metadata.thing_classes)
        ],
    }
    (folder / "panoptic.json").write_text(json.dumps(truth))
    metadata.set(panoptic_json=str(folder / "panoptic.json"), panoptic_root=str(folder))
    return {
        "file_name": str(folder / "image.png"),
        "pan_seg_file_name": str(folder / "panoptic.png"),
        "image_id": "image",
        "height": HEIGHT,
        "width": WIDTH,
        "segments_info": segments,
    }


def test_panoptic_deeplab_trains_a_step_and_infers(tmp_path, metadata):
    torch.manual_seed(0)
    cfg = tiny_config(metadata.name)
    record = write_record(tmp_path, metadata)
    sample = PanopticDeeplabDatasetMapper(cfg)(record)
    model = build_model(cfg)
    optimizer = build_optimizer(cfg, model)
    scheduler = build_lr_scheduler(cfg, optimizer)
    before = [parameter.detach().clone() for parameter in model.parameters()]

    losses = model([sample, sample])
    sum(losses.values()).backward()
    optimizer.step()
    scheduler.step()

    assert set(losses) == {"loss_sem_seg", "loss_center", "loss_offset"}
    assert all(torch.isfinite(loss) for loss in losses.values())
    assert any(not torch.equal(old, new) for old, new in zip(before, model.parameters()))

    DetectionCheckpointer(model, str(tmp_path)).save("model")
    restored = build_model(cfg)
    DetectionCheckpointer(restored).load(str(tmp_path / "model.pth"))
    assert all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), restored.state_dict().values()))

    restored.eval()
    with torch.no_grad():
        (output,) = restored([sample])
    assert output["sem_seg"].shape == (CLASSES, HEIGHT, WIDTH)
    assert output["panoptic_seg"][0].shape == (HEIGHT, WIDTH)


def test_perfect_prediction_scores_100_in_the_panoptic_and_semantic_evaluators(tmp_path, metadata):
    record = write_record(tmp_path, metadata)
    labels = np.asarray(Image.open(record["pan_seg_file_name"]))[..., 0]
    classes = np.where(labels == 2, 4, 0)
    panoptic_seg = torch.as_tensor(np.where(labels == 2, 4 * 1000 + 1, 0))
    Image.fromarray(classes.astype(np.uint8)).save(tmp_path / "semantic.png")
    logits = torch.nn.functional.one_hot(torch.as_tensor(classes), CLASSES).permute(2, 0, 1).float()
    DatasetCatalog.register(metadata.name, lambda: [{**record, "sem_seg_file_name": str(tmp_path / "semantic.png")}])
    try:
        panoptic = COCOPanopticEvaluator(metadata.name, str(tmp_path))
        semantic = SemSegEvaluator(metadata.name, distributed=False)
        for evaluator in (panoptic, semantic):
            evaluator.reset()
            evaluator.process([record], [{"panoptic_seg": (panoptic_seg, None), "sem_seg": logits}])
        assert panoptic.evaluate()["panoptic_seg"]["PQ"] == pytest.approx(100)
        assert semantic.evaluate()["sem_seg"]["mIoU"] == pytest.approx(100)
    finally:
        DatasetCatalog.remove(metadata.name)


def test_visualizer_draws_a_panoptic_map(tmp_path, metadata):
    record = write_record(tmp_path, metadata)
    image = np.asarray(Image.open(record["file_name"]))
    labels = torch.as_tensor(np.asarray(Image.open(record["pan_seg_file_name"]))[..., 0].astype(np.int64))
    segments = [{**segment, "isthing": segment["category_id"] in THINGS} for segment in record["segments_info"]]
    drawn = Visualizer(image, metadata).draw_panoptic_seg(labels, segments).get_image()
    assert drawn.shape == image.shape
    assert (drawn != image).any()
