"""Turns a drawn scene into a photograph in one of the looks.

Shape legend: H, W = image height and width; P = paints of the canvas. Colours are float32 RGB in 0..1 until the end.
"""

import cv2
import numpy as np

from .canvas import Canvas
from .look import Look
from .materials import GROUND, MATERIALS

_LEAFY = ("foliage", "grass")
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
    return np.isin(canvas.materials, [MATERIALS[name] for name in names])


def _paint_colors(canvas: Canvas, look: Look, rng: np.random.Generator) -> np.ndarray:
    """float32 [P, 3]: palette colour by variant, brightness by orientation, a random spread per instance of paint."""
    names = list(MATERIALS)
    colors = np.empty((len(canvas.materials), 3), dtype=np.float32)
    for i, (material, variant) in enumerate(zip(canvas.materials, canvas.variants)):
        choices = look.palette[names[material]]
        colors[i] = choices[min(int(variant * len(choices)), len(choices) - 1)]
    tones = 1.0 + look.face_contrast * (np.asarray(canvas.tones, dtype=np.float32) - 1.0)
    spread = rng.normal(0.0, look.color_spread, size=(len(MATERIALS), 3)).astype(np.float32)
    colors = colors / 255.0 * tones[:, None] + spread[canvas.materials]
    grey = colors @ _LUMA
    return np.maximum(grey[:, None] + look.saturation * (colors - grey[:, None]), 0.0)


def _noise(rng: np.random.Generator, shape: tuple[int, int], scale: float) -> np.ndarray:
    """float32 [H, W] of unit variance with blobs of ``scale`` times the image height."""
    cell = max(1.0, scale * shape[0])
    grid = rng.standard_normal((int(shape[0] / cell) + 2, int(shape[1] / cell) + 2), dtype=np.float32)
    return grid if cell == 1.0 else cv2.resize(grid, shape[::-1], interpolation=cv2.INTER_LINEAR)


def _texture(canvas: Canvas, look: Look, rng: np.random.Generator) -> np.ndarray:
    """float32 [H, W]: relative brightness change, strong on leaves, weaker on ground and other surfaces."""
    shape = canvas.index.shape
    noise = np.zeros(shape, dtype=np.float32)
    for scale in look.texture_scales:
        noise += _noise(rng, shape, scale)[: shape[0], : shape[1]]
    noise *= 1.5 / np.sqrt(len(look.texture_scales))  # interpolation has lowered the variance
    if look.texture_levels:
        noise = np.round(np.clip(noise, -1.5, 1.5) * look.texture_levels / 3.0) * (3.0 / look.texture_levels)
    strength = np.full(len(canvas.materials), look.surface_texture, dtype=np.float32)
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
    depth = np.asarray(canvas.depths, dtype=np.float32)[canvas.index]
    depth = np.where(ground, canvas.camera.ground_depth()[:, None], depth)
    haze = (1.0 - np.exp(-look.haze * depth))[..., None]
    image += haze * (np.asarray(look.haze_color, dtype=np.float32) / 255.0 - image)


def _through_camera(image: np.ndarray, look: Look, rng: np.random.Generator) -> np.ndarray:
    """Lens, exposure and sensor: float32 [H, W, 3] in and out."""
    height, width = image.shape[:2]
    gain = np.asarray(look.color_cast, dtype=np.float32) * np.float32(2.0 ** rng.normal(0.0, look.exposure))
    image = (image - 0.5) * np.float32(look.contrast) + 0.5
    image *= gain
    if look.vignette:
        y = np.linspace(-1.0, 1.0, height, dtype=np.float32)[:, None]
        x = np.linspace(-1.0, 1.0, width, dtype=np.float32)[None]
        image *= (1.0 - 0.5 * look.vignette * (x * x + y * y))[..., None]
    if look.blur:
        image = cv2.GaussianBlur(image, (0, 0), max(look.blur * height, 0.3))
    if look.sensor_noise:
        image += rng.standard_normal(image.shape, dtype=np.float32) * np.float32(look.sensor_noise)
    if look.chroma_blur:
        luma = (image @ _LUMA)[..., None]
        image = luma + cv2.GaussianBlur(image - luma, (0, 0), max(look.chroma_blur * height, 0.3))
    return image
