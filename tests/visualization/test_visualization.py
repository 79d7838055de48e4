"""Colours, overlays, panels and plots at the edges."""

import colorsys
import io
import itertools
from dataclasses import replace

import matplotlib
import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from gbw_panoptic.errors import UserError
from gbw_panoptic.taxonomy import CITYSCAPES, LabelUnion
from gbw_panoptic.visualization import colors, panels, plots
from gbw_panoptic.visualization.curves import _draw_line, curves
from gbw_panoptic.visualization.colors import MARKS, Segments, mark
from gbw_panoptic.visualization.overlay import contours, draw_layer, draw_panoptic, hatch
from gbw_panoptic.visualization.samples import make_page, sample_cells

# cityscapesScripts, helpers/labels.py, in the order of trainIds.
OFFICIAL = [
    (128, 64, 128), (244, 35, 232), (70, 70, 70), (102, 102, 156), (190, 153, 153), (153, 153, 153), (250, 170, 30),
    (220, 220, 0), (107, 142, 35), (152, 251, 152), (70, 130, 180), (220, 20, 60), (255, 0, 0), (0, 0, 142), (0, 0, 70),
    (0, 60, 100), (0, 80, 100), (0, 0, 230), (119, 11, 32),
]  # fmt: skip
SRGB_TO_XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
# Machado, Oliveira and Fernandes 2009, severity 1: protanopia, deuteranopia, tritanopia.
COLOR_BLIND = [
    [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
]
SIZES = [(1, 1), (2, 3), (7, 5), (33, 65), (128, 257)]


def random_scene(size, seed=0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    panoptic = np.full(size, -1, np.int64)
    for label in rng.permutation(19):
        top, left = rng.integers(0, size[0]), rng.integers(0, size[1])
        panoptic[top : top + 30, left : left + 50] = 1000 * label + int(CITYSCAPES.is_thing[label])
    return rng.integers(0, 256, (*size, 3), np.uint8), panoptic


def colorize_panoptic(panoptic, taxonomy):
    segments = Segments.of(panoptic, taxonomy)
    return segments.paint(segments.colors(taxonomy))


def test_official_colors_of_all_classes():
    labels = np.arange(19)[None]
    expected = np.array(OFFICIAL)[None]
    np.testing.assert_array_equal(colors.colorize_labels(labels, CITYSCAPES), expected)
    np.testing.assert_array_equal(colorize_panoptic(1000 * labels, CITYSCAPES), expected)  # stuff
    np.testing.assert_array_equal(colorize_panoptic(1000 * labels + 1, CITYSCAPES), expected)  # first instances
    opaque = draw_panoptic(np.zeros((1, 19, 3), np.uint8), 1000 * labels, CITYSCAPES, opacity=1, names=False)
    stuff = [c for c in CITYSCAPES.stuff_ids if CITYSCAPES.names[c] not in MARKS]
    np.testing.assert_array_equal(opaque[0, stuff], np.array(OFFICIAL)[stuff])


def test_void_is_black():
    labels = np.array([[255, -1, 19]])
    assert not colors.colorize_labels(labels, CITYSCAPES).any()
    assert not colorize_panoptic(np.array([[-1, 255_000, 19_000]]), CITYSCAPES).any()


@pytest.mark.parametrize("label", CITYSCAPES.thing_ids)
def test_instances_keep_their_classs_hue_and_stay_away_from_other_classes(label):
    shades = [colors.segment_color(1000 * label + k, CITYSCAPES) for k in range(1, 40)]
    assert len(set(shades)) > 8 and all(one != other for one, other in zip(shades, shades[1:]))
    hues = [colorsys.rgb_to_hls(*np.divide(shade, 255)) for shade in shades]
    assert np.ptp([hue for hue, _, _ in hues]) < 0.02
    own = np.linalg.norm(lab(shades) - lab([OFFICIAL[label]]), axis=1)
    others = [np.linalg.norm(lab(shades) - lab([color]), axis=1) for c, color in enumerate(OFFICIAL) if c != label]
    assert (own < np.min(others, axis=0)).all()  # a car never looks like a wall


def test_classes_that_colour_blind_people_confuse_differ_in_their_pattern():
    for matrix in COLOR_BLIND:
        seen = lab(as_seen(OFFICIAL, matrix))
        for one, other in itertools.combinations(range(19), 2):
            if np.linalg.norm(seen[one] - seen[other]) < 12:
                patterns = {MARKS.get(CITYSCAPES.names[c]) for c in (one, other)}
                assert len(patterns) == 2, (CITYSCAPES.names[one], CITYSCAPES.names[other])


def test_patterns_are_seen():
    for name in MARKS:
        label = CITYSCAPES.names.index(name)
        plain = np.full((48, 48, 3), OFFICIAL[label], np.uint8)
        marked = mark(plain, np.full((48, 48), label), CITYSCAPES)
        share = (marked != plain).any(axis=2).mean()
        assert 0.1 < share < 0.6, name
        ends = lab([plain[0, 0], marked[(marked != plain).any(axis=2)][0]])
        assert np.linalg.norm(ends[0] - ends[1]) > 15, name
    assert len(set(MARKS.values())) == len(MARKS)


@pytest.mark.parametrize("matrix", [np.eye(3), *COLOR_BLIND[:2]], ids=["all", "protan", "deutan"])
def test_error_colours_are_no_classs(matrix):
    errors = lab(as_seen([color for _, color in panels.ERRORS.values()], matrix))
    classes = lab(as_seen(OFFICIAL, matrix))
    assert np.linalg.norm(errors[:, None] - classes, axis=2).min() > 9
    for one, other in itertools.combinations(errors, 2):
        assert np.linalg.norm(one - other) > 40


def lab(rgb) -> np.ndarray:
    """CIE L*a*b* (D65) of RGB in 0..255."""
    xyz = linear(rgb) @ SRGB_TO_XYZ.T / (0.95047, 1, 1.08883)
    f = np.where(xyz > 216 / 24389, np.cbrt(xyz), (24389 / 27 * xyz + 16) / 116)
    return np.stack([116 * f[..., 1] - 16, 500 * (f[..., 0] - f[..., 1]), 200 * (f[..., 1] - f[..., 2])], axis=-1)


def linear(rgb) -> np.ndarray:
    values = np.asarray(rgb, float) / 255
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def as_seen(rgb, matrix) -> np.ndarray:
    """RGB in 0..255 that shows people with normal sight what colour-blind ones see."""
    light = np.clip(linear(rgb) @ np.asarray(matrix).T, 0, 1)
    return 255 * np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)


@pytest.mark.parametrize("size", SIZES)
def test_any_size(size):
    image, panoptic = random_scene(size)
    assert draw_panoptic(image, panoptic, CITYSCAPES).shape == (*size, 3)
    errors = panels.pixel_errors(panoptic, panoptic[::-1], CITYSCAPES)
    panel = panels.make_panel(image, panoptic, panoptic[::-1], errors, CITYSCAPES)
    width = max(768, round(256 * size[1] / size[0]))
    assert panel.dtype == np.uint8 and panel.shape[1] == 2 * width + 3 * 12
    layers = panels.make_layers(image, panoptic, panoptic[::-1], errors, CITYSCAPES)
    assert {picture.shape[:2] for picture in layers.values()} == {layers["image"].shape[:2]}
    assert layers["image"].shape[0] >= 256 and layers["image"].shape[1] >= 1024
    assert [layers[name].shape[2] for name in ("image", "truth", "prediction", "errors")] == [3, 4, 4, 4]


def test_layers_show_segments_names_and_errors():
    (car,) = CITYSCAPES.ids("car")
    panoptic = np.full((100, 300), -1)
    panoptic[:, 100:] = 0
    panoptic[40:80, 150:250] = 1000 * car + 7
    layer = draw_layer(panoptic, CITYSCAPES)
    assert (layer[:, 100:, 3] == 255).all() and (layer[:, :100, 3] < 255).all()
    assert layer[5, 295].tolist() == [*OFFICIAL[0], 255] and layer[40, 160].tolist() == [255] * 4
    inside = (layer[41:79, 151:249, :3] != colors.segment_color(1000 * car + 7, CITYSCAPES)).any(axis=2)
    rows, columns = np.nonzero(inside)
    assert abs(columns.mean() + 151 - 200) < 4 and 15 < np.ptp(columns) < 80  # "car 7" in the middle
    errors = np.array([[panels.CORRECT, panels.WRONG_CLASS, panels.VOID]]).repeat(3, axis=0)
    picture = panels.make_layers(np.zeros((3, 3, 3), np.uint8), errors, errors, errors, CITYSCAPES)["errors"]
    assert picture[0, 0, 3] == 0 and picture[0, 512].tolist() == [*panels.ERRORS[panels.WRONG_CLASS][1], 255]
    assert 0 < picture[0, -1, 3] < 255


def test_void_everywhere_is_hatched():
    image, void = np.full((40, 60, 3), 90, np.uint8), np.full((40, 60), -1)
    picture = draw_panoptic(image, void, CITYSCAPES)
    np.testing.assert_array_equal(picture, hatch(image))
    assert len(np.unique(picture)) == 2  # stripes and ground
    errors = panels.pixel_errors(void, void, CITYSCAPES)
    assert (errors == panels.VOID).all()
    assert panels.make_panel(image, void, void, errors, CITYSCAPES).shape[2] == 3


def test_one_segment_is_blended_and_named():
    image, road = np.full((60, 200, 3), 100, np.uint8), np.zeros((60, 200), np.int64)
    plain = draw_panoptic(image, road, CITYSCAPES, opacity=0.5, names=False)
    np.testing.assert_array_equal(
        np.unique(plain.reshape(-1, 3), axis=0), [(114, 82, 114)]
    )  # (100 + (128, 64, 128)) / 2
    named = (draw_panoptic(image, road, CITYSCAPES, opacity=0.5) != plain).any(axis=2)
    rows, columns = np.nonzero(named)
    assert named.any() and abs(rows.mean() - 30) < 8 and np.ptp(columns) < 60  # a short word near the middle


def test_names_fit_or_are_left_out():
    image = np.zeros((64, 64, 3), np.uint8)
    thin = np.full((64, 64), -1)
    thin[:, 30:32] = 5000
    np.testing.assert_array_equal(
        draw_panoptic(image, thin, CITYSCAPES), draw_panoptic(image, thin, CITYSCAPES, names=False)
    )


def test_labels_that_are_unions_have_names_and_colours_in_pictures_of_samples():
    taxonomy = replace(CITYSCAPES, unions=(LabelUnion("vehicle", 100, (13, 14)), LabelUnion("flat", 101, (0, 1))))
    drawn = taxonomy.of_labels
    assert drawn.names[19:] == ("vehicle", "flat") and drawn.is_thing[19:] == (True, False)
    assert (
        drawn.colors[:19] == CITYSCAPES.colors and len(set(drawn.colors)) == 21 and CITYSCAPES.of_labels is CITYSCAPES
    )
    labels = np.repeat(np.repeat(np.array([[19, 20], [0, 255]], np.uint8), 100, axis=0), 150, axis=1)
    maps = {"sem_seg": labels, "sem_seg_weights": np.ones(labels.shape), "instance_ids": (labels == 19).astype(int)}
    cells = sample_cells({"image": np.zeros((*labels.shape, 3), np.uint8), **maps}, drawn)
    picture = dict(cells)["labels"]
    places = [(picture.shape[0] // 20, picture.shape[1] * place // 20) for place in (1, 19)]
    assert [tuple(picture[place]) for place in places] == [
        tuple(np.rint(0.7 * np.array(c)).astype(int)) for c in drawn.colors[19:]
    ]
    assert make_page("a page", [("a row", cells)], [0, 19, 20], drawn).ndim == 3


def test_contours_lie_on_instances_only():
    (car,) = CITYSCAPES.ids("car")
    panoptic = np.zeros((9, 12), np.int64)
    panoptic[2:7, 2:6], panoptic[2:7, 6:10] = 1000 * car + 1, 1000 * car + 2
    found = contours(Segments.of(panoptic, CITYSCAPES), CITYSCAPES)
    expected = np.zeros((9, 12), bool)
    expected[2:7, 2:10] = True
    expected[3:6, 3:5] = expected[3:6, 7:9] = False  # the insides of the two cars
    np.testing.assert_array_equal(found, expected)


def test_image_and_map_of_different_size():
    with pytest.raises(UserError, match=r"\(4, 5\), found \(5, 4\)"):
        draw_panoptic(np.zeros((4, 5, 3), np.uint8), np.zeros((5, 4), int), CITYSCAPES)


def test_pixel_errors_by_hand():
    (car,) = CITYSCAPES.ids("car")
    one, two = 1000 * car + 1, 1000 * car + 2
    truth = np.array([[-1, 0, 0, one, one, two, 1000]])
    predicted = np.array([[0, 0, -1, one, two, two, 0]])
    codes = [
        panels.VOID,
        panels.CORRECT,
        panels.UNLABELLED,
        panels.CORRECT,
        panels.CORRECT,
        panels.CORRECT,
        panels.WRONG_CLASS,
    ]
    assert panels.pixel_errors(truth, predicted, CITYSCAPES)[0].tolist() == codes
    codes[4], codes[5] = panels.WRONG_SEGMENT, panels.WRONG_SEGMENT
    found = panels.pixel_errors(truth, predicted, CITYSCAPES, matched=[(0, 0), (one, one)])
    assert found[0].tolist() == codes


def test_panel_shows_the_errors():
    image, truth = np.full((60, 80, 3), 128, np.uint8), np.zeros((60, 80), np.int64)
    right = panels.make_panel(image, truth, truth, panels.pixel_errors(truth, truth, CITYSCAPES), CITYSCAPES)
    wrong_map = truth + 1000
    errors = panels.pixel_errors(truth, wrong_map, CITYSCAPES)
    wrong = panels.make_panel(image, truth, wrong_map, errors, CITYSCAPES)

    def share_of_violet(panel):
        return (np.abs(panel.astype(int) - (159, 19, 236)).max(axis=2) <= 1).mean()  # 0.15 * 128 + 0.85 * (165, 0, 255)

    assert share_of_violet(right) < 0.01
    assert share_of_violet(wrong) > 0.15


@pytest.mark.parametrize("size", [*SIZES, (64, 5000)])
def test_overlays_are_large_enough_for_names_and_no_larger_than_screens(size):
    image, panoptic = random_scene(size)
    overlay = panels.make_overlay(image, panoptic, CITYSCAPES)
    assert overlay.dtype == np.uint8 and 1024 <= max(overlay.shape[:2]) < 4096 + 100


def test_the_legend_names_what_occurs():
    image, road = np.zeros((64, 128, 3), np.uint8), np.zeros((64, 128), np.int64)
    road[:, 60:] = 10_000  # sky
    chips = {tuple(c) for c in panels.make_overlay(image, road, CITYSCAPES)[512:].reshape(-1, 3)}
    colorful = {color for color in OFFICIAL if len(set(color)) > 1}  # letters are grey
    assert {OFFICIAL[0], OFFICIAL[10]} == chips & colorful
    beside = panels.make_overlay(image, road, CITYSCAPES, beside=True)
    assert beside.shape[1] > 2 * panels.make_overlay(image, road, CITYSCAPES).shape[1]
    assert not beside[:512, :1024].any()  # the image, which is black


def png_size(data: bytes) -> tuple[int, int]:
    image = Image.open(io.BytesIO(data))
    image.load()
    assert image.format == "PNG"
    return image.size


def heat_map(kind, iterations, names, values) -> plots.HeatMap:
    return plots.HeatMap("source/sem_seg", kind, iterations, names, values)


def pixel_colors(kind: str, *values: float) -> list[tuple[int, int, int]]:
    """The colours of the cells of classes with the given values, from top to bottom."""
    names = [str(value) for value in values]
    png = plots.class_heat_maps([[heat_map(kind, [0, 10], names, np.array([values, values]))]])
    picture = np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))
    column = picture[:, picture.shape[1] // 2]
    cells = [color for color, below in zip(column, column[3:]) if (color == below).all() and (color != 255).any()]
    return list(dict.fromkeys(tuple(int(channel) for channel in color) for color in cells))


def test_weights_are_coloured_around_one_and_blank_where_there_is_none():
    zero, one, large, absent = pixel_colors("weight", 0.0, 1.0, 100.0, np.nan)
    red, _, blue = np.subtract(zero, one)
    assert red < -100 and blue < -50  # dark blue: less red than white
    assert min(one) > 240 and large[0] > large[2] + 50  # white; dark red
    assert absent[0] == absent[1] == absent[2] < 230  # grey, not the white of a weight of 1
    two, half = pixel_colors("weight", 2.0, 0.5)
    assert max(abs(np.subtract(np.subtract(255, two)[::-1], np.subtract(255, half)))) < 60  # equally far from 1


def test_plots_are_pictures_and_leave_matplotlib_alone():
    before = dict(matplotlib.rcParams)
    values = np.linspace(0, 100, 19)
    arguments = (CITYSCAPES.names, values, CITYSCAPES.colors)
    plain = plots.class_bars(*arguments, label="PQ (%)")
    compared = plots.class_bars(*arguments, label="PQ (%)", baseline=values[::-1], differences=values - values[::-1])
    assert png_size(plain) == png_size(compared) and plain != compared
    assert plots.class_bars(*arguments, label="PQ (%)", errors=np.full(19, 3.0)) != plain
    weights = np.full((4, 19), 1.0)
    weights[:, 3], weights[2] = 3.0, np.nan
    maps = [heat_map(kind, [0, 1, 5, 6], CITYSCAPES.names, weights) for kind in ("weight", "gradient", "share")]
    width, height = png_size(plots.class_heat_maps([maps[:1]]))
    three_wide, two_high = plots.class_heat_maps([maps]), plots.class_heat_maps([maps[:1], maps[1:2]])
    assert min(width, height) > 200
    assert png_size(three_wide)[0] > 2 * width and png_size(three_wide)[1] == height
    assert png_size(two_high)[0] == width and png_size(two_high)[1] > 1.9 * height
    series = {"a": [([0, 10, 20], [1.0, 0.5, 0.2])], "b": [([], [])]}
    assert min(png_size(curves({"": series}, label="loss", logarithmic=True))) > 200
    several = curves({title: series for title in ("PQ", "RQ", "mIoU", "recall")}, label="%")
    assert png_size(several)[1] > png_size(curves({"PQ": series, "RQ": series}, label="%"))[1]  # two rows of panels
    assert dict(matplotlib.rcParams) == before


def test_curves_draw_the_mean_of_several_runs():
    """The line through two runs is the line of their mean, whatever their order."""
    low, high = ([0, 1, 2], [0.0, 0.0, 0.0]), ([0, 1, 2], [2.0, 4.0, 6.0])
    both = curves({"": {"a": [low, high]}}, label="loss")
    assert both == curves({"": {"a": [high, low]}}, label="loss")
    assert both != curves({"": {"a": [low]}}, label="loss")
    line = _draw_line(Figure().add_subplot(), [low, high], "C0")
    np.testing.assert_allclose(line.get_xydata(), [[0, 1], [1, 2], [2, 3]])


def test_confusion_shares_are_of_true_classes():
    pixels = np.array([[90, 10, 0], [0, 0, 0]])
    picture = plots.confusion_matrix(["road", "car"], pixels)
    assert (
        picture
        == plots.confusion_matrix(["road", "car"], 1000 * pixels)
        != plots.confusion_matrix(["car", "road"], pixels)
    )
    with_void = plots.confusion_matrix(["road", "car"], pixels + [0, 0, 5])
    assert png_size(with_void)[0] > png_size(picture)[0]  # a column for pixels of no class


def test_plots_of_almost_nothing():
    for kind in ("weight", "gradient", "share"):
        for value in (np.nan, 0.0, 1.0):
            assert png_size(plots.class_heat_maps([[heat_map(kind, [7], ["road"], np.array([[value]]))]]))
    assert png_size(curves({}, label="loss"))
    assert png_size(curves({"": {"a": [([3], [np.nan])]}}, label="loss"))
    assert png_size(curves({"": {"a": [([3], [0.0])]}}, label="%"))
