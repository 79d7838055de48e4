"""Run lengths: of CVAT's masks, of Label Studio's brush, and of whole maps of this project's own pages.

Formats: docs of CVAT (XML 1.1) and the bit stream of Label Studio's brush.

Shape legend: H x W pixels.
"""

from collections.abc import Sequence

import numpy as np

#: Bits of a run's length in Label Studio's streams.
_FIELDS = (3, 4, 8, 16)


def runs_of(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Values and lengths of the runs of a flat array."""
    flat = values.ravel()
    starts = np.flatnonzero(np.concatenate(([flat.size > 0], flat[1:] != flat[:-1])))
    return flat[starts], np.diff(starts, append=flat.size)


def encode_map(values: np.ndarray) -> list[int]:
    """[value, length, value, length, ...] of an integer map [H, W], row after row."""
    return np.stack(runs_of(values), axis=1).ravel().tolist()


def decode_map(runs: Sequence[int], size: tuple[int, int]) -> np.ndarray:
    """int32 [H, W].

    Raises:
        ValueError: the runs are not those of a map of ``size``; the message is a noun phrase.
    """
    pairs = np.asarray(runs)
    if pairs.dtype.kind not in "iu" or pairs.ndim != 1 or pairs.size % 2:
        raise ValueError("no runs of whole numbers")
    values, lengths = pairs.reshape(-1, 2).T
    total = size[0] * size[1]
    if (
        (lengths < 1).any()
        or (lengths > total).any()
        or lengths.sum() != total
        or np.abs(values).max(initial=0) > 1 << 30
    ):
        raise ValueError(f"runs of {lengths.sum()} pixels in an image of {total}")
    return np.repeat(values, lengths).reshape(size).astype(np.int32)


def encode_cvat(mask: np.ndarray) -> str:
    """Comma-separated lengths of a mask [H, W] in its box, row after row, zeros first."""
    values, lengths = runs_of(mask.astype(bool))
    return ", ".join(map(str, ([0] if len(values) and values[0] else []) + lengths.tolist()))


def decode_cvat(text: str, size: tuple[int, int]) -> np.ndarray:
    """bool [H, W] of ``size``.

    Raises:
        ValueError: the lengths are not those of such a mask; the message is a noun phrase.
    """
    words = text.replace(",", " ").split()
    if not all(word.isdecimal() and len(word) < 12 for word in words):
        raise ValueError("run lengths that are no whole numbers")
    lengths = np.array(words, np.int64)
    if lengths.sum() != size[0] * size[1]:
        raise ValueError(f"run lengths of {lengths.sum()} pixels in a box of {size[0] * size[1]}")
    return np.repeat(np.arange(len(lengths)) % 2 == 1, lengths).reshape(size)


def encode_brush(mask: np.ndarray) -> list[int]:
    """Bytes of Label Studio's stream of a mask [H, W]: of an image of four channels that are all alike."""
    values, lengths = runs_of(mask.astype(bool))
    bits = [format(4 * mask.size, "032b"), format(7, "05b"), *(format(field - 1, "04b") for field in _FIELDS)]
    for value, length in zip(values.tolist(), (4 * lengths).tolist()):
        while length:
            part = min(length, 1 << _FIELDS[-1])
            field = next(i for i, width in enumerate(_FIELDS) if part <= 1 << width)
            bits.append(f"1{field:02b}{part - 1:0{_FIELDS[field]}b}{255 * value:08b}")
            length -= part
    stream = "".join(bits)
    return np.packbits(np.frombuffer(stream.encode(), np.uint8) - ord("0")).tolist()


def decode_brush(stream: Sequence[int], size: tuple[int, int]) -> np.ndarray:
    """bool [H, W]: where the fourth channel is above 0.

    Raises:
        ValueError: the stream is not one of an image of ``size``; the message is a noun phrase.
    """
    data = np.asarray(stream)
    if data.ndim != 1 or data.dtype.kind not in "iu" or data.min(initial=0) < 0 or data.max(initial=0) > 255:
        raise ValueError("a brush that is no list of bytes")
    bits = np.unpackbits(data.astype(np.uint8))
    place = 0

    def take(count: int) -> int:
        nonlocal place
        place += count
        if place > len(bits):
            raise ValueError("a brush that ends too early")
        return int("".join(map(str, bits[place - count : place])), 2)

    total, word = take(32), take(5) + 1
    fields = [take(4) + 1 for _ in range(4)]
    if total != 4 * size[0] * size[1] or word != 8:
        raise ValueError(f"a brush of {total} values of {word} bits in an image of {size[0]}x{size[1]} pixels")
    pixels, done = np.zeros(total, np.uint8), 0
    while done < total:
        same, length = take(1), take(fields[take(2)]) + 1
        if done + length > total:
            raise ValueError("a brush of more values than it says")
        if same:
            pixels[done : done + length] = take(8)
        else:
            take(8 * length)
            pixels[done : done + length] = np.packbits(bits[place - 8 * length : place])
        done += length
    return (pixels.reshape(-1, 4)[:, 3] > 0).reshape(size)
