"""An exported model on an image, with NumPy, Pillow and onnxruntime alone: no torch, nothing of this project.

python tools/run_onnx.py exported/model.onnx image.jpg overlay.png
"""

import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image, ImageOps

if len(sys.argv) != 4:
    print("usage: run_onnx.py MODEL.onnx IMAGE OVERLAY.png", file=sys.stderr)
    sys.exit(2)
model, source, target = sys.argv[1:]
for path in (model, source):
    if not Path(path).is_file():
        print(f"error: expected a file at {path}, found none; correct the path", file=sys.stderr)
        sys.exit(2)
session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
about = session.get_modelmeta().custom_metadata_map
classes, divisor = json.loads(about["classes"]), int(about["label_divisor"])
colors = np.array(json.loads(about["colors"]), np.uint8)

image = ImageOps.exif_transpose(Image.open(source)).convert("RGB")
short, longest = int(about["short_edge"]) or min(image.size), int(about["max_size"]) or max(image.size)
scale = min(short / min(image.size), longest / max(image.size))  # the size that the model was made for
seen = image.resize([round(edge * scale) for edge in image.size], Image.Resampling.BILINEAR)

names = [output.name for output in session.get_outputs()]
maps = dict(zip(names, session.run(None, {"image": np.asarray(seen)})))
ids = maps.get("panoptic", maps["semantic"] * divisor)
ids = np.asarray(Image.fromarray(ids).resize(image.size, Image.Resampling.NEAREST))

for value, area in zip(*np.unique(ids[ids >= 0], return_counts=True)):
    number = f" {value % divisor}" if value % divisor else ""
    print(f"{classes[value // divisor]}{number}: {area} pixels")
painted = np.where((ids >= 0)[..., None], colors[np.maximum(ids, 0) // divisor], 0)
Image.fromarray((0.4 * np.asarray(image) + 0.6 * painted).astype(np.uint8)).save(target)
