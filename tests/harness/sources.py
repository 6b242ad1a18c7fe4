"""What the service's source says about itself: modules, imports, functions, numbers."""

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import wallet_service

PACKAGE = "wallet_service"


@dataclass(frozen=True)
class Source:
    """One module's text and tree."""

    name: str
    text: str

    @property
    def tree(self) -> ast.Module:
        return ast.parse(self.text)

    @property
    def part(self) -> str:
        """The package or module directly under `wallet_service` it belongs to."""
        return self.name.split(".")[1] if "." in self.name else ""


def service_sources() -> dict[str, Source]:
    """Read all modules of the service by name."""
    root = Path(wallet_service.__file__).parent
    sources = {}
    for path in sorted(root.rglob("*.py")):
        parts = path.relative_to(root.parent).with_suffix("").parts
        name = ".".join(part for part in parts if part != "__init__")
        sources[name] = Source(name, path.read_text(encoding="utf-8"))
    return sources


def imports_of(source: Source) -> Iterator[str]:
    """Name everything a module imports, wherever in it, as `package.module.name`."""
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{source.name}: a relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def our_imports(source: Source, sources: Mapping[str, Source]) -> set[str]:
    """Name the service's modules that a module imports."""
    found = set()
    for name in imports_of(source):
        if name.split(".")[0] == PACKAGE:
            found.add(name if name in sources else name.rpartition(".")[0])
    return found


def circle(imports: Mapping[str, set[str]]) -> list[str]:
    """Return some modules that import each other in a circle; nothing if there are none."""
    done: set[str] = set()

    def visit(name: str, path: list[str]) -> list[str]:
        if name in path:
            return [*path[path.index(name) :], name]
        if name in done:
            return []
        for imported in sorted(imports.get(name, ())):
            found = visit(imported, [*path, name])
            if found:
                return found
        done.add(name)
        return []

    return next(filter(None, (visit(name, []) for name in sorted(imports))), [])


def long_functions(source: Source, lines_max: int) -> list[str]:
    """Name the functions whose body, its docstring left out, has too many lines."""
    return [
        f"{source.name}.{node.name}"
        for node in ast.walk(source.tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and _body_lines(node) > lines_max
    ]


def _body_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    has_docstring = ast.get_docstring(function) is not None
    body = function.body[1:] if has_docstring else function.body
    if not body:
        return 0
    last = body[-1].end_lineno
    assert last
    return last - body[0].lineno + 1


def floats(source: Source) -> list[str]:
    """Name the lines with a float literal or a call of `float`."""
    return [
        f"{source.name}:{node.lineno}"
        for node in ast.walk(source.tree)
        if (isinstance(node, ast.Constant) and isinstance(node.value, float))
        or (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Name)
            and node.func.id == "float"
        )
    ]
