# ruff: noqa: E501
"""Wrong inputs in a table, with the sentence that each gets: what was given, what is allowed, what to do.

A case is a name, a function that makes a folder and spoils it, and what the sentence must hold. To add one, add a line.
Every sentence is also held to the form of CONTRIBUTING.md.
"""

import importlib.util
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from secure_fcl.config import load_config
from secure_fcl.data import DataRefused, as_dataset, load_chosen
from secure_fcl.errors import SecureFclError

_spec = importlib.util.spec_from_file_location("own_folders", Path(__file__).with_name("own_folders.py"))
assert _spec is not None
assert _spec.loader is not None
own = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(own)

Spoil = Callable[[Path], object]


def declared(make: Spoil, **changed: str) -> Spoil:
    """Change keys of data.toml; the text "" takes a key out."""

    def spoil(folder: Path) -> None:
        make(folder)
        lines = (folder / "data.toml").read_text().splitlines()
        kept = [line for line in lines if line.partition(" = ")[0] not in changed]
        added = [f"{key} = {value}" for key, value in changed.items() if value]
        (folder / "data.toml").write_text("\n".join([*kept, *added]) + "\n")

    return spoil


def line(number: int, text: str) -> Spoil:
    """Replace a line of anna.csv, the header being line 1."""

    def spoil(folder: Path) -> None:
        own.table(folder)
        lines = (folder / "anna.csv").read_text().splitlines()
        lines[number - 1] = text
        (folder / "anna.csv").write_text("\n".join(lines))

    return spoil


def written(make: Spoil, path: str, content: bytes) -> Spoil:
    """Write a file after the folder was made."""

    def spoil(folder: Path) -> None:
        make(folder)
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)

    return spoil


def without(make: Spoil, path: str) -> Spoil:
    """Take a file away."""

    def spoil(folder: Path) -> None:
        make(folder)
        (folder / path).unlink()

    return spoil


def arrays(**changed: object) -> Spoil:
    """An npz with other arrays."""
    return lambda folder: own.npz(folder, **changed)


X = np.zeros((20, 2, 8), dtype=np.float32)
BROKEN = X.copy()
BROKEN[7, 1, 3] = np.nan
Y = np.array(["cat", "dog"] * 10)

CASES: list[tuple[str, Spoil, str]] = [
    # data.toml
    ("no declaration", without(own.table, "data.toml"), r"data\.toml is not there; `secure-fcl data inspect .*` proposes"),
    ("no TOML", written(own.table, "data.toml", b"kind = ["), r"data\.toml cannot be read: .*; mend it there"),
    ("unknown key", declared(own.table, widow="8"), r"unknown key 'widow'; did you mean 'window'\?"),
    ("unknown kind", declared(own.table, kind='"excel"'), r"kind = 'excel': Input should be 'table', 'idx'"),
    ("key of another kind", declared(own.idx, window="8"), r"window means nothing for kind = 'idx'; take it out"),
    ("no label set", declared(own.table, classes=""), r"classes is not declared; it is a public fact that is never read"),
    ("class twice", declared(own.table, classes='["walk", "walk"]'), r"classes names 'walk' more than once"),
    ("no rate", declared(own.table, rate=""), r"kind = 'table' needs rate; declare this public fact, which"),
    ("no unit", declared(own.table, units=""), r"kind = 'table' needs units"),
    ("scale of zero", declared(own.table, scale="0"), r"scale = \[0\.0\] must be above 0; it divides the readings"),
    ("scales too few", declared(own.table, scale="[1, 2, 3]"), r"scale has 3 numbers for 2 channels; give one or all"),
    ("gap below a step", declared(own.table, gap="0.01"), r"gap = 0\.01 s is shorter than one step of 0\.1 s; raise it"),
    ("published name", declared(own.table, name='"hapt"'), r"name = 'hapt' in data\.toml is a published data set's"),
    ("no test examples", declared(own.table, test_clients=""), r"does not say what is for testing; declare test_clients"),
    ("only test examples", declared(own.table, test_clients='["anna", "ben", "cleo"]'), r"^0 examples are for training"),
    ("unknown test client", declared(own.table, test_clients='["zoe"]'), r"test_clients names 'zoe', and the clients are"),
    ("undeclared client", declared(own.table, clients='["anna", "cleo"]'), r"client 'ben' is not one of clients = "),
    # tables
    ("NaN", line(12, "1.000,nan,0,walk,x"), r"anna\.csv line 12: ax is 'nan', not a finite number; mend the row"),
    ("empty cell", line(5, "0.300,0.1,,walk,x"), r"anna\.csv line 5: ay is empty, not a finite number"),
    ("text for a number", line(6, "0.400,x1,0,walk,x"), r"anna\.csv line 6: ax is 'x1', not a finite number"),
    ("cells missing", line(7, "0.500,1"), r"anna\.csv line 7: 2 cells, and the header names 5; mend the row"),
    ("unknown label", line(8, "0.600,0,0,jog,x"), r"anna\.csv line 8: what \(the label\) 'jog' is not one of 'walk', 'rest'"),
    ("time back", line(9, "0.200,0,0,walk,x"), r"anna\.csv line 9: t is -0\.4 s later, which does not come after"),
    ("time is no time", line(9, "noon,0,0,walk,x"), r"anna\.csv line 9: t is 'noon', not a finite number; mend the row"),
    ("another rate", declared(own.table, rate="2.0"), r"line 3: t is 0\.1 s later, where rate = 2 asks for 0\.5 s"),
    ("no such column", line(1, "t,ax,ayy,what,note"), r"anna\.csv has no column 'ay'; did you mean 'ayy'\? it has t, ax"),
    ("column twice", line(1, "t,ax,ay,what,ax"), r"anna\.csv has 2 columns 'ax'; rename all but one"),
    ("another delimiter", declared(own.table, delimiter='";"'), r"has no column 'ax'; .*it has t,ax,ay,what,note"),
    ("no text at all", written(own.table, "anna.csv", b"\xff\xfe\x00"), r"anna\.csv cannot be read as CSV in UTF-8"),
    ("no Parquet", written(own.table, "zed.parquet", b"PAR2"), r"zed\.parquet (cannot be read as Parquet|is a Parquet)"),
    ("file too deep", written(own.table, "a/b/c.csv", b"t\n"), r"c\.csv lies 3 folders deep; use CLIENT\.csv or"),
    ("file and folder", written(own.table, "anna/1.csv", b"\n".join(map(str.encode, own.rows()))), r"has another file or"),
    ("nothing long enough", declared(own.table, window="64"), r"has no example; give files with at least one whole"),
    # IDX
    ("no IDX file", without(own.idx, "train-images-idx3-ubyte"), r"there, and train-images-idx3-ubyte is not"),
    ("cut off", written(own.idx, "train-images-idx3-ubyte", b"\0\0\x08\x03"), r"fewer than its header's 16; write it"),
    ("no bytes", written(own.idx, "t10k-images-idx3-ubyte", b"\0\0\x0d\x03" + bytes(16)), r"starts with 00000d03, not 00"),
    ("IDX label", declared(own.idx, classes='["3", "7"]'), r"ubyte\.gz entry 6: label 40 is not one of '3', '7'; declare"),
    # npz
    ("no arrays", without(own.npz, "data.npz"), r"data\.npz is not there; put the arrays x and y into a file"),
    ("no npz", written(own.npz, "data.npz", b"PK\x03\x04 nothing"), r"data\.npz cannot be read: .*numpy\.savez"),
    ("pickled", arrays(y=np.array([{}] * 20)), r"data\.npz cannot be read: .*without pickled objects"),
    ("no y", arrays(y=None), r"data\.npz has no array 'y', only x, client; write x and y"),
    ("unknown array", arrays(weights=Y), r"data\.npz has an array 'weights'; the arrays are x, y, client"),
    ("NaN in arrays", arrays(x=BROKEN), r"x\[7\] holds NaN, an infinity or a number beyond float32 \(1 examples do\)"),
    ("beyond float32", arrays(x=X.astype(np.float64) + 1e300), r"x\[0\] holds NaN, an infinity or a number beyond"),
    ("unequal lengths", arrays(x=X[:19]), r"arrays of unequal length \{'x': 19, 'y': 20"),
    ("labels in between", arrays(y=np.linspace(0, 1, 20)), r"y\[1\]: label 0\.05.* is no label; give whole numbers"),
    ("negative label", arrays(y=np.full(20, -1)), r"y\[0\]: label -1 is not one of 'cat', 'dog'; .* \(19 more rows\)"),
    ("colours last", arrays(x=np.zeros((20, 9, 9, 3))), r"with colours last; give x\.transpose\(0, 3, 1, 2\)"),
    ("five axes", arrays(x=np.zeros((20, 1, 2, 3, 4))), r"x has shape \(20, 1, 2, 3, 4\); give \(n, channels, time\)"),
    ("shared without runs", declared(own.npz, windows_per_reading="2"), r"windows_per_reading = 2 needs run and position"),
    ("two splits", arrays(test=np.arange(20) > 9), r"has a test or train mask, and data\.toml declares test examples too"),
    # images
    ("no image", written(own.images, "train/cat/9.png", b"nothing"), r"9\.png is no readable image: .*; replace it"),
    ("another size", declared(own.images, size="[8, 8]"), r"has 6 x 5 pixels, not size = \[8, 8\]; declare resize"),
    ("image of nobody", written(own.images, "3.png", b""), r"3\.png lies in 0 folders, and layout = 'split/label'"),
    ("unknown animal", written(own.images, "train/cow/1.png", b""), r"1\.png: label 'cow' is not one of 'cat', 'dog'"),
    ("third half", written(own.images, "val/cat/1.png", b""), r"the outermost folder is 'val', not train or test"),
    # sound
    ("no sound", written(own.wav, "anna/hum/2.wav", b"RIFF"), r"2\.wav is no readable WAV file.*; replace it"),
    ("sound's rate", written(own.wav, "anna/hum/2.wav", own.sound(rate=80)), r"has 80 readings a second, not rate = 100"),
    ("stereo", written(own.wav, "anna/hum/2.wav", own.sound(channels=2)), r"2\.wav has 2 channels, and 1 are declared"),
]  # fmt: skip


def in_form(text: str) -> bool:
    """Whether a sentence is one line, without full stop, and says what to do."""
    return "\n" not in text and not text.endswith(".") and ";" in text and "Traceback" not in text


@pytest.mark.parametrize(("spoil", "said"), [pytest.param(s, t, id=name) for name, s, t in CASES])
def test_a_wrong_input_gets_a_sentence(spoil: Spoil, said: str, tmp_path: Path) -> None:
    spoil(tmp_path)
    config = load_config(None, ["data.source=folder", f"data.data_dir={tmp_path}"])
    with pytest.raises(SecureFclError, match=said) as refused:
        load_chosen(config.data)
    assert in_form(str(refused.value)), str(refused.value)


@pytest.mark.parametrize("make", [own.table, own.idx, own.npz, own.images, own.wav])
def test_what_the_table_spoils_is_sound_before(make: Spoil, tmp_path: Path) -> None:
    make(tmp_path)
    assert len(load_chosen(load_config(None, ["data.source=folder", f"data.data_dir={tmp_path}"]).data))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (["data.source=folder"], r"source = 'folder' needs data_dir: name the folder"),
        (["data.source=folder", "data.name=mnist", "data.data_dir=x"], r"are two data sets; leave out one"),
        (["data.source=lab:mine", "data.name=hapt"], r"source = 'lab:mine' and name = 'hapt' are two data sets"),
        (["data.source=lab:mine", "data.data_dir=x"], r"data_dir = 'x' means nothing to source = 'lab:mine'"),
        (["data.source=disk"], r"source = 'disk' is none of catalogue, folder and module:function"),
        (["data.name="], r"name = '' names no data set; see `secure-fcl data list`"),
        (
            ["calm.features=wavelets"],
            r"features = 'wavelets': use auto, plain, refined, rhythm, general, or module:function",
        ),
        (["class_sums.features=refined"], r"features = 'refined': use plain, general, or module:function"),
    ],
)
def test_a_wrong_choice_gets_a_sentence(settings: list[str], said: str) -> None:
    with pytest.raises(SecureFclError, match=said):
        load_config(None, settings)


@pytest.mark.parametrize(
    ("found", "keys", "said"),
    [
        ((X, Y), {}, r"the label set is public and never read off the data; give"),
        (X, {"classes": "ab"}, r"what is of type ndarray is no data set; give"),
        ({"x": X}, {"classes": ["cat", "dog"]}, r"there is no array 'y' among x; give it"),
        ((X, Y), {"classes": []}, r"classes = \[\] is no label set; give a list"),
        ((X, Y), {"classes": ["cat", "dog"], "test": np.zeros(20, bool)}, r"0 for testing; declare a split"),
        ((X, Y), {"classes": ["cat", "dog"], "test": 1.5}, r"test = 1\.5 is no probability between 0 and 1; give"),
        ((X, Y), {"classes": ["cat", "dog"], "test": (X[:, :1], Y)}, r"training examples have shape \(2, 8\) and test"),
        ((X, Y, Y), {"classes": ["cat", "dog"], "clients": ["cat"]}, r"client\[1\]: client 'dog' is not one of 'cat'"),
        (iter([(X[0], "cat"), (X[0, :1], "dog")]), {"classes": ["cat", "dog"]}, r"item 1 has shape \(1, 8\), item 0 "),
        (iter([3]), {"classes": ["cat", "dog"]}, r"item 0 is of type int, not \(x, y\)"),
        (iter([]), {"classes": ["cat", "dog"]}, r"the data set has no item; give one"),
        ((X.astype(object), Y), {"classes": ["cat", "dog"]}, r"x has type object, not numbers; give arrays"),
    ],
)  # fmt: skip
def test_a_wrong_object_gets_a_sentence(found: object, keys: dict[str, object], said: str) -> None:
    with pytest.raises(DataRefused, match=said) as refused:
        as_dataset(found, **keys)  # type: ignore[arg-type]
    assert in_form(str(refused.value)), str(refused.value)


def test_the_form_is_looked_at() -> None:
    assert in_form("x is wrong; mend it")
    assert not in_form("x is wrong")
    assert not in_form("x is wrong; mend it.")
