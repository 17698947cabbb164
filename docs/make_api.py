"""Write docs/api/*.md from docstrings and signatures in the source: `python docs/make_api.py`."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parent.parent
FOLDER = Path(__file__).with_name("api")

# Modules of each page: what a caller may want. A room with a face of its own (`__all__`) shows that face alone.
MODULES: dict[str, tuple[str, ...]] = {
    "crypto": (
        "planning", "protocols.plans", "opening", "running", "wire.messages", "vectors", "keys", "protocols.session",
        "protocols.entry", "protocols.catalogue", "protocols.bookkeeping", "protocols.masks", "testing", "backends",
        "errors",
    ),
    "privacy": (
        "events", "cohorts", "ledger", "filters", "accountants", "statement", "calibration", "groups", "batches",
        "dpsgd", "clipping", "after_noise", "stacked", "distributed", "noise_shares", "per_client", "skellam",
        "skellam_gdp", "matrix", "ftrl", "tree_shares", "statistics", "allocator", "selection", "randomness", "testing",
        "errors",
    ),
    "attacks": (
        "own_audit", "own", "games", "membership", "shadows", "gradients", "sums", "bounds", "controls", "modules",
        "report", "testing", "errors",
    ),
    "evaluation": (
        "accuracy", "matrix", "anytime", "forgetting", "intervals", "roc", "rank_test", "evidence", "plots", "figures",
        "report", "comparison", "study_page", "frontier", "page", "summary", "studies", "run_folder", "tasks", "files",
        "errors",
    ),
    "secure_fcl": (
        "api.opened", "api.tables", "api.comparing", "api.grids", "runner", "studies", "config", "data", "streams",
        "features", "memory", "strategies", "strategies.methods", "compression", "forecast", "checking", "auditing",
        "testing", "errors",
    ),
}  # fmt: skip

_HEAD = """# {name}

{summary}

Written by `python docs/make_api.py` from the source; do not edit it by hand. {how}Every other name is imported from the
module, or the room, under whose heading it stands. What is not listed serves the rest and may change.
"""


def render(name: str) -> str:
    """Return the whole page of one package."""
    face = _face(name)
    how = f"Names in **bold** are imported from `{name}` itself. " if face else ""
    parts = [_HEAD.format(name=name, summary=_summary(_docstring(name)), how=how)]
    if face:
        own = [_entry(name, key, True) for key, home in sorted(face.items()) if _origin(home, key) == name]
        parts.append("\n".join([f"## From `{name}`\n", *own, *[""] * bool(own), _face_table(name, face)]))
    for entry in MODULES[name]:
        parts += list(_room(name, f"{name}.{entry}", set(face)))
    return "\n".join(parts)


def pages() -> dict[str, str]:
    """Return every page's text by the name of its package."""
    return {name: render(name) for name in MODULES}


def _face_table(name: str, face: dict[str, str]) -> str:
    sections = {
        (home, key): module
        for entry in MODULES[name]
        for module, names in _sections(f"{name}.{entry}")
        for key, home in names.items()
    }
    rows: dict[str, list[str]] = {module: [] for module in sections.values()}
    for key, home in sorted((k, h) for k, h in face.items() if _origin(h, k) != name):
        rows[sections[_origin(home, key), key]].append(f"`{key}`")
    lines = [f"| [{m}](#{m.replace('.', '')}) | {', '.join(keys)} |" for m, keys in rows.items() if keys]
    return "\n".join(["| described under | names |", "|---|---|", *lines, ""])


def _room(package: str, room: str, face: set[str]) -> Iterator[str]:
    yield f"## {room}\n\n{_summary(_docstring(room))}\n"
    for module, names in _sections(room):
        if module != room:
            yield f"### {module}\n\n{_summary(_docstring(module))}\n"
        lines = [_entry(home, key, key in face and _face(package)[key] == home) for key, home in names.items()]
        yield "\n".join(line for line in lines if line) + "\n"


@cache
def _sections(room: str) -> tuple[tuple[str, dict[str, str]], ...]:
    """Return (module or room, {name: module that defines it}) for each section of a room."""
    if _face(room):
        return ((room, {key: _origin(home, key) for key, home in sorted(_face(room).items())}),)
    path = _path(room)
    if path.name != "__init__.py":
        return ((room, _public(room)),)
    modules = sorted(p.stem for p in path.parent.glob("*.py") if p.stem != "__init__")
    return tuple((f"{room}.{m}", names) for m in modules if (names := _public(f"{room}.{m}")))


def _public(module: str) -> dict[str, str]:
    """Return the module's own public functions and classes, and its constants that the package's face shows."""
    face = _face(module.partition(".")[0])
    found = {}
    for node in _tree(module).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            found[node.name] = module
        elif (key := _assigned(node)) and face.get(key) == module:
            found[key] = module
    return found


def _entry(module: str, key: str, in_face: bool) -> str:
    node = _definition(module, key)
    mark = "**" if in_face else ""
    if isinstance(node, ast.FunctionDef):
        return f"- {mark}`{key}{_arguments(node)}`{mark}: {_said(ast.get_docstring(node) or '')}"
    if isinstance(node, ast.ClassDef):
        lines = [f"- {mark}`{key}{_fields(node)}`{mark}: {_said(ast.get_docstring(node) or '')}"]
        for method in node.body:
            documented = isinstance(method, ast.FunctionDef) and ast.get_docstring(method)
            if isinstance(method, ast.FunctionDef) and documented and not method.name.startswith("_"):
                lines.append(f"  - `{_method(method)}`: {_said(documented, sentence=True)}")
        return "\n".join(lines)
    value = ast.unparse(node.value) if isinstance(node, ast.Assign | ast.AnnAssign) and node.value else ""
    return f"- {mark}`{key}`{mark} = `{value if len(value) <= 90 else value[:86] + ' ...'}`"


def _method(node: ast.FunctionDef) -> str:
    decorators = {ast.unparse(d) for d in node.decorator_list}
    if decorators & {"property", "cached_property"}:
        return f".{node.name}" + (f" -> {ast.unparse(node.returns)}" if node.returns else "")
    return f".{node.name}{_arguments(node, bound='staticmethod' not in decorators)}"


def _arguments(node: ast.FunctionDef, bound: bool = False) -> str:
    given = ast.unparse(node.args)
    if bound:
        given = re.sub(r"^(self|cls)(, /)?(, )?", "", given)
    returns = f" -> {ast.unparse(node.returns)}" if node.returns else ""
    return f"({_spaced(given)}){returns}".replace(" -> None", "")


def _fields(node: ast.ClassDef) -> str:
    """Return what the class is called with: its `__init__`, or a dataclass's own fields; empty for the rest."""
    for part in node.body:
        if isinstance(part, ast.FunctionDef) and part.name == "__init__":
            return _arguments(part, bound=True)
    decorators = [ast.unparse(d) for d in node.decorator_list if ast.unparse(d).startswith("dataclass")]
    if not decorators:
        return ""
    given = []
    for part in node.body:
        if isinstance(part, ast.AnnAssign) and "ClassVar" not in ast.unparse(part.annotation):
            default = "" if part.value is None else ast.unparse(part.value)
            if "init=False" not in default and not ast.unparse(part.target).startswith("_"):
                default = re.sub(r"field\(.*default_factory=(\w+).*\)", r"\1()", default)
                default = re.sub(r"field\(.*default=([^,)]+).*\)", r"\1", default)
                default = "" if default.startswith("field(") else default
                said = f"{ast.unparse(part.target)}: {ast.unparse(part.annotation)}"
                given.append(f"{said} = {default}" if default else said)
    return f"({'*, ' if 'kw_only=True' in decorators[0] and given else ''}{', '.join(given)})"


def _spaced(arguments: str) -> str:
    """Return the arguments with spaces round the `=` of their own defaults, as the formatter writes them."""
    depth, written = 0, ""
    for sign in arguments:
        depth += (sign in "([{") - (sign in ")]}")
        written += " = " if sign == "=" and depth == 0 else sign
    return written


def _said(docstring: str, sentence: bool = False) -> str:
    text = _summary(docstring)
    if sentence:
        text = re.split(r"(?<=[a-z\d)\]`])\. (?=[A-Z])", text)[0].rstrip(".") + "."
    raised = re.search(r"^Raises:\n((?:[ \t]+.*\n?)+)", docstring, re.MULTILINE)
    return text + (f" *Raises* {_raised(raised.group(1))}" if raised else "")


def _raised(section: str) -> str:
    found = re.split(r"^ {4}(?=[\w., ]+: )", section, flags=re.MULTILINE)
    said = [" ".join(item.split()).rstrip(".") for item in found if item.strip()]
    return "; ".join(re.sub(r"^([\w., ]+): ", r"`\1`: ", item) for item in said) + "."


def _summary(docstring: str) -> str:
    return " ".join(docstring.split("\n\n")[0].split())


def _docstring(module: str) -> str:
    return ast.get_docstring(_tree(module)) or ""


@cache
def _face(module: str) -> dict[str, str]:
    """Return {name in `__all__`: module it is imported from}; empty for a module without a face."""
    path = _path(module)
    if path.name != "__init__.py":
        return {}
    tree = _tree(module)
    listed = [n.value for n in tree.body if _assigned(n) == "__all__" and isinstance(n, ast.Assign)]
    names = set(ast.literal_eval(listed[0])) if listed else set()
    return {key: _imported(module).get(key, module) for key in names}


def _imported(module: str) -> dict[str, str]:
    # Names that a face loads when they are asked for are imported for type checkers alone.
    late = [part for n in _tree(module).body if isinstance(n, ast.If) for part in n.body]
    top = [*_tree(module).body, *late] if _path(module).name == "__init__.py" else _tree(module).body
    return {
        a.name: n.module or ""
        for n in top
        if isinstance(n, ast.ImportFrom)
        for a in n.names
        if a.asname in (None, a.name)
    }


def _origin(module: str, key: str) -> str:
    """Return the module that defines the name, through rooms and modules that hand it on."""
    while (further := _imported(module).get(key, module)) != module:
        module = further
    return module


def _definition(module: str, key: str) -> ast.stmt:
    top = [
        n for part in _tree(module).body for n in ([*part.body, *part.orelse] if isinstance(part, ast.If) else [part])
    ]
    for node in top:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name == key:
            return node
        if _assigned(node) == key:
            renamed = isinstance(node, ast.Assign) and isinstance(node.value, ast.Name) and node.value.id
            return _definition(module, renamed) if renamed and renamed.lstrip("_")[0].isupper() else node
    raise LookupError(f"{module} does not define {key}; import it in the face from the module that does")


def _assigned(node: ast.stmt) -> str:
    match node:
        case ast.Assign(targets=[ast.Name(id=key)]) | ast.AnnAssign(target=ast.Name(id=key)):
            return key
        case _:
            return ""


@cache
def _tree(module: str) -> ast.Module:
    return ast.parse(_path(module).read_text(encoding="utf-8"))


def _path(module: str) -> Path:
    path = ROOT.joinpath(*module.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for page, text in pages().items():
        (FOLDER / f"{page}.md").write_text(text, encoding="utf-8")
