"""The published settings that tools/reproduce.py runs, with and without GBW, and the figures that were published for
them."""

from dataclasses import dataclass

from .tables import Benchmark, Published

MIT_B5, SWIN_B = "mit_b5.pth", "swin_base_patch4_window12_384_22k.pth"
DINOV2 = {"base": "dinov2_vitb14_pretrain.pth", "large": "dinov2_vitl14_pretrain.pth"}
_EDAPS = "EDAPS (arXiv 2304.14291), its README: the top-down model, Mask R-CNN on MiT-B5"
_EDAPS_DIFFERENCES = (
    "Ours is EDAPS's bottom-up variant M-Dec-BU: centres and offsets, no Mask R-CNN. Its own published figure is not "
    "known to us. Void pixels do not dilute the loss. Classes are averaged by name instead of by a factor of 19/16."
)
_DAFORMER_DIFFERENCES = (
    "Void pixels do not dilute the loss. The teacher's batch norm is in evaluation mode. Norms of the head do not "
    "decay."
)
_MC_PANDA_DIFFERENCES = (
    "Stage 1, on the source only, is a run of its own and gives the teacher of the burn-in. Both methods share it, "
    "without GBW. docs/mask2former.md lists every departure."
)

_MC_PANDA_PP_DIFFERENCES = (
    "The paper does not say its learning rates by layer, schedule and gradient clipping: ours are EoMT's and "
    "MC-PanDA's. docs/mask2former.md lists every departure."
)


@dataclass(frozen=True)
class Stage:
    """A training on the source whose weights are the teacher of the burn-in."""

    config: str
    options: tuple[str, ...]


@dataclass(frozen=True)
class Row:
    """How a benchmark is run.

    Attributes:
        configs: method -> file below configs/.
        weights: file of ImageNet's weights, by its published name; docs/backbones.md says which layouts are read.
        options: KEY VALUE overrides of both methods.
        stage_one: before the training, once for a seed; None for trainings of one stage.
    """

    benchmark: Benchmark
    configs: dict[str, str]
    weights: str
    options: tuple[str, ...] = ()
    stage_one: Stage | None = None


def _mit(name: str, title: str, config: str, protocol: str, columns: tuple, published: tuple, differences: str) -> Row:
    configs = {"unweighted": f"{config}.yaml", "GBW": f"{config}_gbw.yaml"}
    return Row(Benchmark(name, title, protocol, columns, published, differences), configs, MIT_B5)


def _mc_panda(
    name: str, title: str, folder: str, protocol: str, published: tuple, *, stage_one: int, burn_in: int, points: float
) -> Row:
    config = f"{folder}/mask2former_swin_b"
    keys = {
        "SELF_TRAINING.SEGMENTS.BURN_IN_ITERS": burn_in, "SELF_TRAINING.SEGMENTS.POINT_CONFIDENCE": points,
        "SELF_TRAINING.ADAPTIVE_THRESHOLDS.ENABLED": False, "SELF_TRAINING.SEGMENTS.SOURCE_MASK_FACTOR": 1.0,
        "INPUT.TARGET.PHOTOMETRIC_STRENGTH": 0.0,
    }  # fmt: skip
    return Row(
        Benchmark(name, title, protocol, ("PQ", "SQ", "RQ"), published, _MC_PANDA_DIFFERENCES),
        {"unweighted": f"{config}_self_training.yaml", "GBW": f"{config}_self_training_gbw.yaml"},
        SWIN_B,
        tuple(str(part) for pair in keys.items() for part in pair),
        Stage(f"{config}_source_only.yaml", ("SOLVER.MAX_ITER", str(stage_one), "SOLVER.IMS_PER_BATCH", "4")),
    )


def _mc_panda_pp(source: str, target: str, protocol: str, size: str, pq: float, *others: float) -> Row:
    """One stage; ``others``: SQ and RQ, where they were published."""
    names = {"cityscapes": "Cityscapes", "vistas": "Mapillary Vistas", "acdc": "ACDC", "muses": "MUSES"}
    names |= {"synthia": "SYNTHIA", "urbansyn": "UrbanSyn"}
    pair = f"{source}_to_{target}"
    config = f"{pair}/mask2former_dinov2_{size}_self_training"
    title = f"MC-PanDA++ with DINOv2-{size[0].upper()}, {names[source]} to {names[target]}, panoptic"
    published = (_panoptic("MC-PanDA++ (arXiv 2609.39681): mean of three seeds", pq, *others),)
    return Row(
        Benchmark(
            f"mc_panda_pp_{size}_{pair}", title, protocol, ("PQ", "SQ", "RQ"), published, _MC_PANDA_PP_DIFFERENCES
        ),
        {"unweighted": f"{config}.yaml", "GBW": f"{config}_gbw.yaml"},
        DINOV2[size],
    )


def _panoptic(source: str, pq: float, sq: float | None = None, rq: float | None = None) -> Published:
    scores = {"PQ": pq, "SQ": sq, "RQ": rq}
    return Published({name: value for name, value in scores.items() if value is not None}, source)


_MODEL_ZOO = "MC-PanDA (arXiv 2407.14110), its model zoo: one seed"
ROWS = {
    row.benchmark.name: row
    for row in (
        _mit(
            "daformer_gta5_to_cityscapes", "DAFormer, GTA5 to Cityscapes, semantic",
            "gta5_to_cityscapes/panoptic_deeplab_mit_b5_self_training", "19", ("mIoU", "mean recall", "rare recall"),
            (Published({"mIoU": 68.3}, "DAFormer (arXiv 2111.14887), its README"),), _DAFORMER_DIFFERENCES,
        ),
        _mit(
            "daformer_synthia_to_cityscapes", "DAFormer, SYNTHIA to Cityscapes, semantic",
            "synthia_to_cityscapes/semantic_mit_b5_self_training", "16", ("mIoU", "mean recall", "rare recall"),
            (Published({"mIoU": 60.9}, "DAFormer (arXiv 2111.14887), its README"),), _DAFORMER_DIFFERENCES,
        ),
        _mit(
            "edaps_synthia_to_cityscapes", "EDAPS, SYNTHIA to Cityscapes, panoptic",
            "synthia_to_cityscapes/panoptic_deeplab_mit_b5_self_training", "16", ("PQ", "SQ", "RQ"),
            (_panoptic(_EDAPS, 41.2, 72.7, 53.6),), _EDAPS_DIFFERENCES,
        ),
        _mit(
            "edaps_synthia_to_vistas", "EDAPS, SYNTHIA to Mapillary Vistas, panoptic",
            "synthia_to_vistas/panoptic_deeplab_mit_b5_self_training", "16", ("PQ", "SQ", "RQ"),
            (_panoptic(_EDAPS, 36.6, 71.7, 46.1),), _EDAPS_DIFFERENCES,
        ),
        _mc_panda(
            "mc_panda_synthia_to_cityscapes", "MC-PanDA, SYNTHIA to Cityscapes, panoptic", "synthia_to_cityscapes",
            "16",
            (_panoptic("MC-PanDA (arXiv 2407.14110), abstract: mean of three seeds", 47.4),
             _panoptic(_MODEL_ZOO, 48.5, 77.3, 60.6)),
            stage_one=20000, burn_in=15000, points=0.8,
        ),
        _mc_panda(
            "mc_panda_synthia_to_vistas", "MC-PanDA, SYNTHIA to Mapillary Vistas, panoptic", "synthia_to_vistas", "16",
            (_panoptic(_MODEL_ZOO, 38.8, 71.6, 50.2),), stage_one=20000, burn_in=15000, points=0.9,
        ),
        _mc_panda(
            "mc_panda_cityscapes_to_foggy", "MC-PanDA, Cityscapes to Foggy Cityscapes, panoptic", "cityscapes_to_foggy",
            "19",
            (_panoptic(_MODEL_ZOO, 62.5, 82.7, 74.9),), stage_one=40000, burn_in=20000, points=0.8,
        ),
        _mc_panda(
            "mc_panda_cityscapes_to_vistas", "MC-PanDA, Cityscapes to Mapillary Vistas, panoptic",
            "cityscapes_to_vistas", "19",
            (_panoptic(_MODEL_ZOO, 52.0, 79.7, 64.3),), stage_one=40000, burn_in=20000, points=0.9,
        ),
        _mc_panda_pp("synthia", "cityscapes", "16", "base", 49.6, 77.0, 62.2),
        _mc_panda_pp("synthia", "cityscapes", "16", "large", 54.2),
        _mc_panda_pp("synthia", "vistas", "16", "base", 44.8, 76.3, 56.6),
        _mc_panda_pp("synthia", "vistas", "16", "large", 47.6),
        _mc_panda_pp("urbansyn", "cityscapes", "19", "base", 57.2),
        _mc_panda_pp("urbansyn", "cityscapes", "19", "large", 59.1),
        _mc_panda_pp("urbansyn", "vistas", "19", "base", 49.5),
        _mc_panda_pp("urbansyn", "vistas", "19", "large", 52.7),
        _mc_panda_pp("cityscapes", "acdc", "19", "base", 56.3),
        _mc_panda_pp("cityscapes", "acdc", "19", "large", 60.1),
        _mc_panda_pp("cityscapes", "muses", "19", "base", 52.4),
        _mc_panda_pp("cityscapes", "muses", "19", "large", 55.6),
    )
}  # fmt: skip
