"""The published data sets: the one place with their folder and file names (datasets/README.md shows the trees)."""

from dataclasses import replace

from ..taxonomy import SYNTHIA_ABSENT, VISTAS_CLASSES
from .categories import CategoryMap
from .driving import CATALOG as OTHERS
from .driving import DRIVING
from .layout import Download, Split

#: Attenuation coefficients of Foggy Cityscapes, per metre, from the densest fog on; as its file names spell them.
FOGGY_BETAS = ("0.02", "0.01", "0.005")

_CITYSCAPES_SITE = "register at cityscapes-dataset.com, download {} and unpack it in the folder {} of the root"
_SYNTHIA_SITE = "download SYNTHIA-RAND-CITYSCAPES from synthia-dataset.net and unpack it in synthia/ of the root"
_GTA5_SITE = (
    "download all ten parts of the {} from the page of 'Playing for Data' (Richter et al., TU Darmstadt) "
    "and unpack them in the folder gta5 of the root"
)
_VISTAS_SITE = (
    "request Mapillary Vistas (v1.2 or v2.0, which holds v1.2 too) at mapillary.com/dataset/vistas and unpack it in "
    "the folder mapillary_vistas of the root"
)


def _cityscapes_split(name: str, expected_images: int, statistics: str | None) -> Split:
    return Split(
        dataset="cityscapes",
        name=name,
        format="cityscapes",
        image=f"cityscapes/leftImg8bit/{name}/{{city}}/{{stem}}_leftImg8bit.png",
        raw_labels=tuple(
            f"cityscapes/gtFine/{name}/{{city}}/{{stem}}_gtFine_{kind}.png" for kind in ("labelIds", "instanceIds")
        ),
        prepared_labels=(
            f"cityscapes/gtFine/{name}/{{city}}/{{stem}}_gtFine_labelTrainIds.png",
            f"cityscapes/gtFine/cityscapes_panoptic_{name}/{{stem}}_gtFine_panoptic.png",
        ),
        panoptic_json=f"cityscapes/gtFine/cityscapes_panoptic_{name}.json",
        statistics=statistics,
        expected_images=expected_images,
        downloads=(
            Download(
                f"cityscapes/leftImg8bit/{name}", _CITYSCAPES_SITE.format("leftImg8bit_trainvaltest.zip", "cityscapes")
            ),
            Download(f"cityscapes/gtFine/{name}", _CITYSCAPES_SITE.format("gtFine_trainvaltest.zip", "cityscapes")),
        ),
    )


def _foggy_split(clear: Split, beta: str) -> Split:
    """Images in fog with the labels of ``clear``, whose files they are: nothing is copied."""
    folder = f"foggy_cityscapes/leftImg8bit_foggy/{clear.name}"
    source = _CITYSCAPES_SITE.format("leftImg8bit_trainvaltest_foggy.zip", "foggy_cityscapes")
    source += (
        " (leftImg8bit_trainvaltest_foggyDBF.zip, whose folder is leftImg8bit_foggyDBF, is another edition and is not "
        "read)"
    )
    return replace(
        clear,
        dataset="foggy_cityscapes",
        name=f"{clear.name}_beta_{beta}",
        format="foggy_cityscapes",
        image=f"{folder}/{{city}}/{{stem}}_leftImg8bit_foggy_beta_{beta}.png",
        raw_labels=(),
        downloads=(Download(folder, source),),
        labels_of=clear.dataset,
        group=beta,
    )


def _vistas_val(edition: str) -> Split:
    labels = f"mapillary_vistas/validation/{edition}panoptic"
    return Split(
        dataset="mapillary_vistas",
        name="val",
        format="mapillary_vistas",
        image="mapillary_vistas/validation/images/{file}",
        raw_labels=(f"{labels}/{{label}}",),
        raw_json=f"{labels}/panoptic_2018.json",
        prepared_labels=("mapillary_vistas/validation/panoptic_cityscapes/{stem}_panoptic.png",),
        panoptic_json="mapillary_vistas/validation/panoptic_cityscapes.json",
        categories=CategoryMap(
            tuple(VISTAS_CLASSES.items()),
            origin="Mapillary Vistas v1.2",
            fields=("supercategory", "name"),
            stuff_is_crowd=False,  # concerns "on rails", each region of which EDAPS and MC-PanDA take for one train
        ),
        expected_images=2000,
        downloads=tuple(Download(f, _VISTAS_SITE) for f in ("mapillary_vistas/validation/images", labels)),
        group="val",
    )


SYNTHIA_TRAIN = Split(
    dataset="synthia",
    name="train",
    format="synthia",
    image="synthia/RAND_CITYSCAPES/RGB/{stem}.png",
    raw_labels=("synthia/RAND_CITYSCAPES/GT/LABELS/{stem}.png",),
    prepared_labels=("synthia/RAND_CITYSCAPES/panoptic_cityscapes/{stem}_panoptic.png",),
    panoptic_json="synthia/RAND_CITYSCAPES/panoptic_cityscapes.json",
    statistics="synthia/RAND_CITYSCAPES/class_statistics.json",
    expected_images=9400,
    absent=SYNTHIA_ABSENT,
    downloads=(
        Download("synthia/RAND_CITYSCAPES/RGB", _SYNTHIA_SITE),
        Download("synthia/RAND_CITYSCAPES/GT/LABELS", _SYNTHIA_SITE),
    ),
)
GTA5_TRAIN = Split(
    dataset="gta5",
    name="train",
    format="gta5",
    image="gta5/images/{stem}.png",
    raw_labels=("gta5/labels/{stem}.png",),
    prepared_labels=("gta5/labelTrainIds/{stem}.png",),
    statistics="gta5/class_statistics.json",
    expected_images=24966,
    downloads=(
        Download("gta5/images", _GTA5_SITE.format("images")),
        Download("gta5/labels", _GTA5_SITE.format("labels")),
    ),
)
CITYSCAPES_TRAIN = _cityscapes_split("train", 2975, "cityscapes/class_statistics_train.json")
CITYSCAPES_VAL = _cityscapes_split("val", 500, None)
#: beta -> (training, validation).
FOGGY = {beta: tuple(_foggy_split(clear, beta) for clear in (CITYSCAPES_TRAIN, CITYSCAPES_VAL)) for beta in FOGGY_BETAS}
VISTAS_TRAIN = Split(  # a target only: images without labels
    dataset="mapillary_vistas",
    name="train",
    format="images",
    image="mapillary_vistas/training/images/{file}",
    expected_images=18000,
    downloads=(Download("mapillary_vistas/training/images", _VISTAS_SITE),),
    group="train",
)
#: The release of 2018 has no folders v1.2 and v2.0 between ``validation`` and ``panoptic``.
VISTAS_VAL = replace(_vistas_val("v1.2/"), alternative=_vistas_val(""))

#: Data set -> its splits.
PUBLISHED: dict[str, tuple[Split, ...]] = {
    "synthia": (SYNTHIA_TRAIN,),
    "cityscapes": (CITYSCAPES_TRAIN, CITYSCAPES_VAL),
    "gta5": (GTA5_TRAIN,),
    "foggy_cityscapes": tuple(split for splits in FOGGY.values() for split in splits),
    "mapillary_vistas": (VISTAS_TRAIN, VISTAS_VAL),
    **DRIVING,
}
#: Name in the catalog -> (images alone, semantic or panoptic labels, split).
CATALOG: dict[str, tuple[str, Split]] = {
    "synthia_panoptic_train": ("panoptic", SYNTHIA_TRAIN),
    "gta5_sem_train": ("sem", GTA5_TRAIN),
    "cityscapes_uda_panoptic_train": ("panoptic", CITYSCAPES_TRAIN),
    "cityscapes_uda_panoptic_val": ("panoptic", CITYSCAPES_VAL),
    "cityscapes_uda_images_train": ("images", CITYSCAPES_TRAIN),
    **{f"foggy_uda_panoptic_train_beta_{beta}": ("panoptic", train) for beta, (train, _) in FOGGY.items()},
    **{f"foggy_uda_panoptic_val_beta_{beta}": ("panoptic", val) for beta, (_, val) in FOGGY.items()},
    **{f"foggy_uda_images_train_beta_{beta}": ("images", train) for beta, (train, _) in FOGGY.items()},
    "vistas_uda_panoptic_val": ("panoptic", VISTAS_VAL),
    "vistas_uda_images_train": ("images", VISTAS_TRAIN),
    **OTHERS,
}
