"""Which files a data set consists of, their sizes and checksums, and who publishes them.

The md5 sums of the gzipped MNIST and Fashion-MNIST files and of EMNIST's archive are those that torchvision
publishes (torchvision.datasets.mnist); MNIST's are known for the unpacked files as well, so a copy that
somebody zipped again is recognised. No sum is published for single EMNIST files or unpacked Fashion-MNIST.
"""

from __future__ import annotations

import string
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class DataFile:
    """One IDX file.

    Attributes:
        name: Without ".gz".
        size: Bytes when unpacked.
        packed_size: Bytes of the published gzip file, 0 where it is not published on its own.
        packed_md5: Checksum of the published gzip file, or "".
        md5: Checksum when unpacked, or "".
    """

    name: str
    size: int
    packed_size: int = 0
    packed_md5: str = ""
    md5: str = ""

    @property
    def expected(self) -> str:
        """The checksums to look for, in words."""
        sums = [f"md5 {self.packed_md5} as .gz"] * bool(self.packed_md5)
        sums += [f"md5 {self.md5} unpacked"] * bool(self.md5)
        return ", ".join(sums) or f"{self.size} bytes unpacked, no checksum is published"


@dataclass(frozen=True)
class Archive:
    """A zip file that holds several data sets' files."""

    name: str
    size: int
    md5: str
    folder: str


@dataclass(frozen=True)
class Source:
    """One data set of images and labels in IDX files.

    Attributes:
        name: Name for `load`.
        folder: Where torchvision keeps it below its root.
        files: Training images, training labels, test images, test labels.
        classes: Public label set.
        mirrors: Addresses in order of preference, each ending in "/"; a file's name is appended.
        archive: The zip file that holds `files`, or None when they are published one by one.
        transposed: Images are stored with rows and columns exchanged.
        first_label: Label of the first class in the file.
        citation: Whom to cite.
    """

    name: str
    folder: str
    files: tuple[DataFile, DataFile, DataFile, DataFile]
    classes: tuple[str, ...]
    mirrors: tuple[str, ...]
    archive: Archive | None = None
    transposed: bool = False
    first_label: int = 0
    citation: str = ""


_NAMES = (
    "train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte",
)  # fmt: skip
_MERGED = frozenset("cijklmopsuvwxyz")
_BY_CLASS = tuple(string.digits + string.ascii_uppercase + string.ascii_lowercase)
_BY_MERGE = tuple(c for c in _BY_CLASS if c not in _MERGED)


def _sizes(train: int, test: int) -> tuple[int, int, int, int]:
    return (16 + 784 * train, 8 + train, 16 + 784 * test, 8 + test)


_SIZES = _sizes(60_000, 10_000)

MNIST = Source(
    name="mnist",
    folder="MNIST/raw",
    files=(
        DataFile(name=_NAMES[0], size=_SIZES[0], packed_size=9_912_422, packed_md5="f68b3c2dcbeaaa9fbdd348bbdeb94873",
                 md5="6bbc9ace898e44ae57da46a324031adb"),
        DataFile(name=_NAMES[1], size=_SIZES[1], packed_size=28_881, packed_md5="d53e105ee54ea40749a09fcbcd1e9432",
                 md5="a25bea736e30d166cdddb491f175f624"),
        DataFile(name=_NAMES[2], size=_SIZES[2], packed_size=1_648_877, packed_md5="9fb629c4189551a2d022fa330f9573f3",
                 md5="2646ac647ad5339dbf082846283269ea"),
        DataFile(name=_NAMES[3], size=_SIZES[3], packed_size=4_542, packed_md5="ec29112dd5afa0611ce80d1b7f02629c",
                 md5="27ae3e4e09519cfbb04c329615203637"),
    ),
    classes=tuple(string.digits),
    mirrors=(
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        "https://storage.googleapis.com/cvdf-datasets/mnist/",
        "http://yann.lecun.com/exdb/mnist/",
    ),
    citation="LeCun, Cortes, Burges: The MNIST database of handwritten digits, 1998",
)  # fmt: skip

FASHION_MNIST = Source(
    name="fashion-mnist",
    folder="FashionMNIST/raw",
    files=(
        DataFile(name=_NAMES[0], size=_SIZES[0], packed_size=26_421_880, packed_md5="8d4fb7e6c68d591d4c3dfef9ec88bf0d"),
        DataFile(name=_NAMES[1], size=_SIZES[1], packed_size=29_515, packed_md5="25c81989df183df01b3e8a0aad5dffbe"),
        DataFile(name=_NAMES[2], size=_SIZES[2], packed_size=4_422_102, packed_md5="bef4ecab320f06d8554ea6380940ec79"),
        DataFile(name=_NAMES[3], size=_SIZES[3], packed_size=5_148, packed_md5="bb300cfdad3c16e7a12a480ee83cd310"),
    ),
    classes=("T-shirt/top", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag",
             "ankle boot"),
    mirrors=(
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
    ),
    citation="Xiao, Rasul, Vollgraf: Fashion-MNIST, 2017, MIT licence",
)  # fmt: skip


def _emnist(split: str, train: int, test: int, classes: tuple[str, ...], first_label: int = 0) -> Source:
    kinds = ("train-images-idx3", "train-labels-idx1", "test-images-idx3", "test-labels-idx1")
    sizes = _sizes(train, test)
    first, second, third, fourth = (
        DataFile(name=f"emnist-{split}-{kind}-ubyte", size=size) for kind, size in zip(kinds, sizes, strict=True)
    )
    return Source(
        name=f"emnist-{split}",
        folder="EMNIST/raw",
        files=(first, second, third, fourth),
        classes=classes,
        mirrors=(
            "https://biometrics.nist.gov/cs_links/EMNIST/",
            "https://www.itl.nist.gov/iaui/vip/cs_links/EMNIST/",
        ),
        archive=Archive("gzip.zip", 561_753_746, "58c8d27c78d21e728a6bc7b3cc06412e", "gzip"),
        transposed=True,
        first_label=first_label,
        citation="Cohen, Afshar, Tapson, van Schaik: EMNIST, 2017",
    )


SOURCES: tuple[Source, ...] = (
    MNIST,
    FASHION_MNIST,
    _emnist("balanced", 112_800, 18_800, _BY_MERGE),
    _emnist("byclass", 697_932, 116_323, _BY_CLASS),
    _emnist("bymerge", 697_932, 116_323, _BY_MERGE),
    _emnist("digits", 240_000, 40_000, tuple(string.digits)),
    _emnist("letters", 124_800, 20_800, tuple(string.ascii_lowercase), first_label=1),
    _emnist("mnist", 60_000, 10_000, tuple(string.digits)),
)
"""Every data set that is read from a data directory."""
