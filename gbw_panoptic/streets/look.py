"""How a domain looks: one palette and the strengths of every visual effect. The domain gap is set here alone."""

from dataclasses import dataclass, fields
from functools import cached_property
from typing import Mapping

import numpy as np

from .materials import MATERIALS

RGB = tuple[int, int, int]
Palette = Mapping[str, tuple[RGB, ...]]


@dataclass(frozen=True)
class Look:
    """Appearance of one domain. Lengths are shares of the image height, brightnesses shares of full scale.

    Attributes:
        palette: material -> colours (RGB 0..255), one of which each object takes.
        brightness_spread, tint_spread: random change of each material from image to image: relative brightness, and
            shift of each channel (standard deviations).
        face_contrast: difference between sunny and shady faces; 0 = flat, 1 = full.
        shadow: darkness of shadows on the ground, 0..1; ``shadow_softness`` = blur of their edges.
        leaf_texture, ground_texture, surface_texture: noise of foliage and grass, of other ground, of all else.
        texture_scales: sizes of the noise's blobs.
        texture_levels: number of brightness steps of the noise (0 = continuous): painted textures have few.
        sky_gradient: brightening from the top of the sky to the horizon; ``clouds`` = strength of clouds.
        haze: density per metre; ``haze_color`` is what far things fade to.
        color_cast: factor of each channel over the whole image.
        saturation: 1 = as the palette says, 0 = grey.
        exposure: mean and spread (standard deviation) in stops; ``contrast`` around mid grey.
        vignette: darkening of the corners, 0..1.
        blur: lens blur; ``chroma_blur`` = that of colour alone, as JPEG has it.
        sensor_noise: per pixel and channel (standard deviation).
    """

    palette: Palette
    brightness_spread: float
    tint_spread: float
    face_contrast: float
    shadow: float
    shadow_softness: float
    leaf_texture: float
    ground_texture: float
    surface_texture: float
    texture_scales: tuple[float, ...]
    texture_levels: int
    sky_gradient: float
    clouds: float
    haze: float
    haze_color: RGB
    color_cast: tuple[float, float, float]
    saturation: float
    exposure: tuple[float, float]
    contrast: float
    vignette: float
    blur: float
    chroma_blur: float
    sensor_noise: float

    @cached_property
    def palette_table(self) -> tuple[np.ndarray, np.ndarray]:
        """float32 [materials, most colours, 3] in 0..1, and the number of colours of each material."""
        counts = np.array([len(self.palette[name]) for name in MATERIALS])
        table = np.zeros((len(counts), counts.max(), 3), dtype=np.float32)
        for i, name in enumerate(MATERIALS):
            table[i, : counts[i]] = np.array(self.palette[name], dtype=np.float32) / 255.0
        return table, counts


def between(first: Look, second: Look, share: float) -> Look:
    """The look a ``share`` (0..1) of the way from the first to the second: numbers and colours lie on the line between.

    Colours of a material are the second's, each moved towards one of the first's; texture, whose scales and levels have
    no middle, is the second's as soon as the share is above 0.
    """
    if share <= 0:
        return first

    def blend(a, b):
        if isinstance(b, tuple):
            return tuple(blend(x, y) for x, y in zip(a, b, strict=True))
        return a + share * (b - a) if share < 1 else b

    palette = {
        name: tuple(blend(first.palette[name][i % len(first.palette[name])], color) for i, color in enumerate(colors))
        for name, colors in second.palette.items()
    }
    kept = {"palette": palette, "texture_scales": second.texture_scales, "texture_levels": second.texture_levels}
    names = [field.name for field in fields(Look) if field.name not in kept]
    return Look(**kept, **{name: blend(getattr(first, name), getattr(second, name)) for name in names})


_GAME: dict[str, tuple[RGB, ...]] = {
    "asphalt": ((88, 90, 100), (102, 102, 112), (78, 80, 88)),
    "marking": ((245, 245, 240),),
    "pavement": ((186, 172, 158), (170, 160, 150), (198, 180, 160)),
    "kerb": ((215, 210, 205),),
    "grass": ((96, 176, 56), (112, 186, 66)),
    "parking_lot": ((140, 120, 120),),
    "sky": ((98, 164, 240),),
    "skyline": ((176, 150, 140), (150, 150, 170), (190, 170, 140)),
    "facade": ((196, 110, 80), (216, 178, 120), (176, 84, 70), (206, 196, 176), (150, 130, 160), (226, 150, 96)),
    "shop": ((120, 80, 64), (90, 80, 96), (140, 100, 60)),
    "window": ((110, 150, 190), (84, 116, 156)),
    "roof": ((150, 60, 50), (110, 70, 60)),
    "door": ((84, 50, 36),),
    "wall": ((206, 196, 170), (180, 130, 100), (170, 170, 180)),
    "wall_top": ((230, 222, 204),),
    "fence": ((150, 96, 56), (60, 90, 60), (200, 200, 205)),
    "fence_gap": ((84, 72, 58), (70, 84, 60)),
    "rail": ((190, 194, 200),),
    "bridge": ((180, 176, 168),),
    "foliage": ((56, 140, 46), (72, 156, 50), (46, 124, 56), (96, 160, 48)),
    "trunk": ((110, 72, 42),),
    "metal": ((96, 104, 112), (70, 76, 84)),
    "light_box": ((34, 34, 38),),
    "lamp_red": ((255, 40, 30),),
    "lamp_amber": ((255, 190, 30),),
    "lamp_green": ((40, 240, 110),),
    "sign_red": ((226, 24, 30),),
    "sign_blue": ((20, 84, 210),),
    "sign_yellow": ((250, 210, 30),),
    "sign_white": ((250, 250, 250),),
    "skin": ((236, 190, 156), (170, 116, 84), (120, 80, 56)),
    "hair": ((60, 40, 30), (30, 26, 26), (170, 130, 70)),
    "jacket": ((200, 40, 50), (40, 80, 190), (230, 190, 50), (60, 150, 90), (235, 235, 235), (150, 60, 160)),
    "trousers": ((40, 56, 110), (60, 60, 66), (120, 96, 70)),
    "helmet": ((240, 240, 240), (220, 40, 40), (40, 40, 44)),
    "car_paint": ((206, 30, 34), (30, 76, 190), (240, 240, 244), (36, 36, 42), (240, 190, 30), (60, 150, 80)),
    "glass": ((54, 74, 96),),
    "tyre": ((26, 26, 28),),
    "rim": ((196, 198, 204),),
    "tail_light": ((250, 30, 30),),
    "head_light": ((255, 252, 224),),
    "plate": ((250, 246, 220),),
    "truck_cab": ((220, 60, 40), (40, 90, 180), (240, 240, 240)),
    "truck_box": ((236, 230, 220), (60, 110, 180), (220, 150, 60)),
    "bus_paint": ((246, 196, 30), (220, 50, 50), (60, 150, 200)),
    "tram_paint": ((216, 30, 40), (40, 150, 90), (240, 220, 80)),
    "moto_paint": ((220, 30, 40), (30, 90, 210), (40, 40, 44)),
    "bike_frame": ((220, 40, 60), (40, 120, 210), (60, 170, 80)),
    "bike_wheel": ((150, 150, 156),),
    "bonnet": ((60, 62, 70),),
    "object": ((90, 110, 90), (150, 90, 60), (110, 110, 120)),
    "border": ((0, 0, 0),),
}

# The second game: drier hills, other paints, a warmer sun.
_SECOND_GAME: dict[str, tuple[RGB, ...]] = _GAME | {
    "asphalt": ((118, 112, 106), (104, 100, 98)),
    "pavement": ((204, 196, 180), (190, 180, 168)),
    "grass": ((158, 164, 78), (132, 158, 70)),
    "sky": ((84, 150, 226),),
    "facade": ((226, 206, 176), (206, 150, 110), (190, 170, 160), (236, 226, 206), (160, 120, 100)),
    "foliage": ((84, 132, 50), (66, 116, 44), (120, 140, 60)),
    "car_paint": ((180, 40, 40), (210, 214, 220), (40, 60, 110), (24, 24, 28), (150, 150, 156), (220, 150, 40)),
    "bus_paint": ((236, 236, 240), (60, 110, 190)),
    "tram_paint": ((206, 200, 190), (60, 90, 160)),
}  # fmt: skip

_CAMERA: dict[str, tuple[RGB, ...]] = {
    "asphalt": ((92, 92, 88), (104, 104, 98), (84, 86, 80)),
    "marking": ((176, 178, 168),),
    "pavement": ((118, 112, 110), (108, 106, 102), (128, 120, 116)),
    "kerb": ((140, 138, 130),),
    "grass": ((92, 104, 62), (104, 108, 70), (116, 110, 74)),
    "parking_lot": ((110, 104, 100),),
    "sky": ((214, 222, 220),),
    "skyline": ((120, 118, 112), (134, 126, 118), (104, 106, 104)),
    "facade": ((122, 108, 94), (136, 128, 116), (104, 100, 94), (148, 134, 112), (112, 92, 80), (94, 98, 100)),
    "shop": ((66, 62, 58), (80, 70, 64), (56, 60, 60)),
    "window": ((58, 64, 66), (72, 78, 78), (92, 100, 98)),
    "roof": ((84, 66, 58), (70, 68, 66)),
    "door": ((56, 48, 42),),
    "wall": ((124, 118, 106), (110, 94, 80), (98, 100, 96)),
    "wall_top": ((136, 130, 118),),
    "fence": ((72, 74, 70), (92, 78, 62), (120, 122, 116)),
    "fence_gap": ((62, 66, 56), (54, 56, 50)),
    "rail": ((120, 124, 120),),
    "bridge": ((106, 104, 98),),
    "foliage": ((50, 64, 40), (60, 72, 44), (44, 58, 42), (72, 76, 46)),
    "trunk": ((58, 50, 42),),
    "metal": ((84, 88, 84), (98, 100, 94), (66, 70, 66)),
    "light_box": ((32, 34, 32),),
    "lamp_red": ((214, 70, 52),),
    "lamp_amber": ((206, 160, 70),),
    "lamp_green": ((80, 190, 130),),
    "sign_red": ((160, 48, 46),),
    "sign_blue": ((44, 78, 130),),
    "sign_yellow": ((190, 160, 64),),
    "sign_white": ((190, 194, 186),),
    "skin": ((166, 132, 112), (120, 90, 72), (90, 68, 56)),
    "hair": ((46, 40, 36), (36, 34, 34), (100, 82, 62)),
    "jacket": ((48, 52, 60), (40, 42, 42), (92, 56, 52), (78, 84, 76), (130, 126, 118), (60, 66, 82)),
    "trousers": ((44, 50, 62), (46, 46, 46), (74, 68, 58)),
    "helmet": ((150, 152, 148), (120, 50, 46), (40, 42, 42)),
    "car_paint": ((44, 46, 48), (126, 130, 130), (170, 174, 172), (58, 64, 78), (92, 44, 42), (80, 84, 84)),
    "glass": ((48, 56, 56),),
    "tyre": ((32, 34, 32),),
    "rim": ((110, 114, 110),),
    "tail_light": ((166, 44, 40),),
    "head_light": ((206, 208, 196),),
    "plate": ((180, 180, 166),),
    "truck_cab": ((136, 138, 134), (62, 78, 104), (130, 60, 50)),
    "truck_box": ((150, 152, 146), (90, 100, 112), (126, 116, 96)),
    "bus_paint": ((168, 146, 70), (130, 62, 56), (140, 146, 144)),
    "tram_paint": ((138, 56, 52), (70, 104, 84), (170, 156, 92)),
    "moto_paint": ((110, 44, 44), (46, 60, 92), (44, 46, 46)),
    "bike_frame": ((80, 46, 46), (50, 60, 78), (56, 66, 56)),
    "bike_wheel": ((92, 94, 90),),
    "bonnet": ((62, 66, 64),),
    "object": ((76, 82, 72), (92, 72, 60), (82, 84, 84)),
    "border": ((0, 0, 0),),
}

SYNTHIA_LOOK = Look(
    palette=_GAME, brightness_spread=0.05, tint_spread=0.005, face_contrast=1.0, shadow=0.5, shadow_softness=0.0,
    leaf_texture=0.16, ground_texture=0.03, surface_texture=0.02, texture_scales=(0.03,), texture_levels=3,
    sky_gradient=0.25, clouds=0.12, haze=0.0008, haze_color=(190, 214, 240), color_cast=(1.0, 1.0, 1.0),
    saturation=1.1, exposure=(0.0, 0.08), contrast=1.1, vignette=0.0, blur=0.0, chroma_blur=0.0, sensor_noise=0.0,
)  # fmt: skip

GTA5_LOOK = Look(
    palette=_SECOND_GAME, brightness_spread=0.08, tint_spread=0.008, face_contrast=0.9, shadow=0.45,
    shadow_softness=0.004,
    leaf_texture=0.2, ground_texture=0.05, surface_texture=0.04, texture_scales=(0.06, 0.02), texture_levels=4,
    sky_gradient=0.2, clouds=0.2, haze=0.002, haze_color=(214, 216, 214), color_cast=(1.04, 1.0, 0.94),
    saturation=1.0, exposure=(0.0, 0.15), contrast=1.05, vignette=0.0, blur=0.0, chroma_blur=0.0, sensor_noise=0.005,
)  # fmt: skip

CAMERA_LOOK = Look(
    palette=_CAMERA, brightness_spread=0.12, tint_spread=0.01, face_contrast=0.5, shadow=0.35, shadow_softness=0.015,
    leaf_texture=0.3, ground_texture=0.09, surface_texture=0.09, texture_scales=(0.12, 0.03, 0.012), texture_levels=0,
    sky_gradient=0.06, clouds=0.05, haze=0.008, haze_color=(178, 188, 180), color_cast=(0.94, 1.03, 0.95),
    saturation=0.8, exposure=(0.28, 0.22), contrast=0.9, vignette=0.3, blur=0.004, chroma_blur=0.012,
    sensor_noise=0.022,
)  # fmt: skip
