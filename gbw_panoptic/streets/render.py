"""Turns a drawn scene into a photograph in one of the looks.

Shape legend: H, W = image height and width; P = paints of the canvas. Colours are float32 RGB in 0..1 until the end.
"""

import cv2
import numpy as np

from .canvas import Canvas
from .look import Look
from .materials import GROUND, MATERIALS

_LEAFY = ("foliage", "grass")
_GOLDEN_RATIO = 0.618
_LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)


def render(canvas: Canvas, look: Look, rng: np.random.Generator) -> np.ndarray:
    """uint8 [H, W, 3] RGB image of the scene."""
    image = _paint_colors(canvas, look, rng)[canvas.index]
    ground = _is_material(canvas, GROUND)[canvas.index]
    image *= (1.0 + _texture(canvas, look, rng) - _shadow(canvas, look) * ground)[..., None]
    _shade_sky(image, canvas, look, rng)
    _add_haze(image, canvas, look, ground)
    image = _through_camera(image, look, rng)
    return np.clip(image * 255.0 + 0.5, 0, 255).astype(np.uint8)


def _is_material(canvas: Canvas, names: tuple[str, ...]) -> np.ndarray:
    """bool [P]."""
    wanted = np.zeros(len(MATERIALS), dtype=bool)
    wanted[[MATERIALS[name] for name in names]] = True
    return wanted[canvas.paint_table(0, np.intp)]


def _paint_colors(canvas: Canvas, look: Look, rng: np.random.Generator) -> np.ndarray:
    """float32 [P, 3]: palette colour by variant, brightness by orientation, both slightly changed per image."""
    table, counts = look.palette_table
    materials, variants = canvas.paint_table(0, np.intp), canvas.paint_table(3, np.float64)
    variants = (variants + _GOLDEN_RATIO * materials) % 1.0  # so that jacket and trousers are chosen independently
    choice = (variants * counts[materials]).astype(np.intp)
    tones = 1.0 + look.face_contrast * (canvas.paint_table(4, np.float32) - 1.0)
    brightness = 1.0 + rng.normal(0.0, look.brightness_spread, size=(len(MATERIALS), 1)).astype(np.float32)
    tint = rng.normal(0.0, look.tint_spread, size=(len(MATERIALS), 3)).astype(np.float32)
    colors = table[materials, choice] * tones[:, None] * brightness[materials] + tint[materials]
    grey = colors @ _LUMA
    return np.maximum(grey[:, None] + look.saturation * (colors - grey[:, None]), 0.0)


def _noise(rng: np.random.Generator, shape: tuple[int, int], scale: float) -> np.ndarray:
    """float32 [H, W] of unit variance with blobs of ``scale`` times the image height."""
    cell = max(1.0, scale * shape[0])
    grid = rng.standard_normal((int(shape[0] / cell) + 2, int(shape[1] / cell) + 2), dtype=np.float32)
    return grid if cell == 1.0 else cv2.resize(grid, shape[::-1], interpolation=cv2.INTER_LINEAR)


def _pixel_noise(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """float32 [*shape]: independent noise of unit variance; two random bytes cost far less than a normal draw."""
    pairs = rng.integers(0, 256, size=(2, *shape), dtype=np.uint8).astype(np.float32)
    return (pairs[0] + pairs[1] - 255.0) * np.float32(1.0 / 104.5)


def _texture(canvas: Canvas, look: Look, rng: np.random.Generator) -> np.ndarray:
    """float32 [H, W]: relative brightness change, strong on leaves, weaker on ground and other surfaces."""
    shape = canvas.index.shape
    noise = np.zeros(shape, dtype=np.float32)
    for scale in look.texture_scales:
        noise += _noise(rng, shape, scale)[: shape[0], : shape[1]]
    noise *= 1.5 / np.sqrt(len(look.texture_scales))  # interpolation has lowered the variance
    if look.texture_levels:
        noise = np.round(np.clip(noise, -1.5, 1.5) * look.texture_levels / 3.0) * (3.0 / look.texture_levels)
    strength = np.full(len(canvas.paints), look.surface_texture, dtype=np.float32)
    strength[_is_material(canvas, GROUND)] = look.ground_texture
    strength[_is_material(canvas, _LEAFY)] = look.leaf_texture
    strength[_is_material(canvas, ("sky", "border"))] = 0.0
    return noise * strength[canvas.index]


def _shadow(canvas: Canvas, look: Look) -> np.ndarray:
    """float32 [H, W]: share of light that is lost to shadows on the ground."""
    shadow = canvas.shadow
    if look.shadow_softness:
        shadow = cv2.GaussianBlur(shadow, (0, 0), max(look.shadow_softness * shadow.shape[0], 0.3))
    return shadow.astype(np.float32) * (look.shadow / 255.0)


def _shade_sky(image: np.ndarray, canvas: Canvas, look: Look, rng: np.random.Generator) -> None:
    """Brighten the sky towards the horizon and add clouds, in place."""
    sky = _is_material(canvas, ("sky",))[canvas.index]
    height = canvas.index.shape[0]
    rows = np.clip(np.arange(height, dtype=np.float32) / max(canvas.camera.horizon, 1.0), 0.0, 1.0)
    clouds = np.maximum(_noise(rng, canvas.index.shape, 0.2)[:height, : sky.shape[1]], 0.0) * look.clouds
    white = np.clip(rows[:, None] * look.sky_gradient + clouds, 0.0, 1.0)[sky][:, None]
    image[sky] += white * (1.0 - image[sky])


def _add_haze(image: np.ndarray, canvas: Canvas, look: Look, ground: np.ndarray) -> None:
    """Fade to the haze colour with distance, in place."""
    of_objects = 1.0 - np.exp(-look.haze * canvas.paint_table(5, np.float32))
    of_rows = 1.0 - np.exp(-look.haze * canvas.camera.ground_depth())
    haze = np.where(ground, of_rows[:, None], of_objects[canvas.index])[..., None]
    image += haze * (np.asarray(look.haze_color, dtype=np.float32) / 255.0 - image)


def _through_camera(image: np.ndarray, look: Look, rng: np.random.Generator) -> np.ndarray:
    """Lens, exposure and sensor: float32 [H, W, 3] in and out."""
    height, width = image.shape[:2]
    gain = np.asarray(look.color_cast, dtype=np.float32) * np.float32(2.0 ** rng.normal(*look.exposure))
    image = (image - 0.5) * np.float32(look.contrast) + 0.5
    image *= gain
    if look.vignette:
        y = np.linspace(-1.0, 1.0, height, dtype=np.float32)[:, None]
        x = np.linspace(-1.0, 1.0, width, dtype=np.float32)[None]
        image *= (1.0 - 0.5 * look.vignette * (x * x + y * y))[..., None]
    if look.blur:
        image = cv2.GaussianBlur(image, (0, 0), max(look.blur * height, 0.3))
    if look.sensor_noise:
        image += _pixel_noise(rng, image.shape) * np.float32(look.sensor_noise)
    if look.chroma_blur:
        luma = (image @ _LUMA)[..., None]
        image = luma + cv2.GaussianBlur(image - luma, (0, 0), max(look.chroma_blur * height, 0.3))
    return image
