"""What a round of acquisition leaves for the eye: what was bought on some images, and the classes' counts by round."""

from functools import partial
from typing import Callable

import numpy as np
from detectron2.data import MetadataCatalog

from .. import files
from ..active.acquisition import Acquisition
from ..active.label_store import NOT_BOUGHT, LabelStore
from ..taxonomy import Taxonomy
from ..visualization.bought import bought_bars, draw_bought


def build_round_pictures(cfg) -> Callable[[Acquisition], None]:
    """:func:`draw_round` with ACTIVE.NUM_OVERLAYS."""
    taxonomy = MetadataCatalog.get(cfg.ACTIVE.ANNOTATOR).taxonomy
    return partial(draw_round, taxonomy=taxonomy, num_overlays=cfg.ACTIVE.NUM_OVERLAYS)


def draw_round(acquisition: Acquisition, taxonomy: Taxonomy, num_overlays: int) -> None:
    """``overlays/<round>/<image_id>.png`` of all that was bought so far in the first images, and ``classes.png``."""
    store = acquisition.store
    folder = store.folder / "overlays" / str(len(store.rounds))
    for record in acquisition.records[:num_overlays]:
        image = files.read_image(record["file_name"])
        labels = store.read(record["image_id"], image.shape[:2])
        folder.mkdir(parents=True, exist_ok=True)
        picture = draw_bought(image, labels, taxonomy, not_bought=NOT_BOUGHT)
        files.write_png(folder / f"{record['image_id']}.png", picture)
    counts = np.array([list(entry["classes"].values()) for entry in store.rounds])
    imbalances = [entry["imbalance"] for entry in store.rounds]
    picture = bought_bars(store.class_names, counts, imbalances, taxonomy.colors)
    files.atomic_write(store.folder / "classes.png", picture)


def is_drawn(store: LabelStore) -> bool:
    """Whether the pictures of the last round have been finished: theirs is the last file that a round writes."""
    picture, manifest = store.folder / "classes.png", store.folder / "manifest.json"
    return picture.is_file() and picture.stat().st_mtime_ns >= manifest.stat().st_mtime_ns
