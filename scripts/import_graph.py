"""Import graph of the package, read from its syntax trees: `python scripts/import_graph.py` prints it as Mermaid.

docs/architecture.md shows what this prints, and tests/test_architecture.py holds both the arrows and the picture.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = "llava_interleave_serve"
PARTS = ("server", "model_executor", "kernels", "demo", "benchmarks")
# Folders whose modules and sub-folders are nodes of their own; all others are one node.
OPEN_FOLDERS = ("server", "benchmarks", "benchmarks/load")
# Pictures of docs/architecture.md: a title, and the folders that are opened in it.
PICTURES = {
    "The package": ("benchmarks",),
    "server/": ("server",),
    "benchmarks/load/": ("benchmarks/load",),
}


def python_files(folder: str) -> Iterator[Path]:
    """The Python files below a folder of the repository, sorted."""
    yield from sorted((ROOT / folder).rglob("*.py"))


def imported_names(file: Path) -> set[str]:
    """Every name that a file imports, anywhere in it, as `package.module.name`.

    Raises ValueError for a relative import: it hides what is imported.
    """
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                raise ValueError(f"{file}: a relative import")
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def module_path(name: str) -> str | None:
    """The path, without suffix, of the module of this package that `package.module.name` lies in; None for others."""
    steps = name.split(".")
    if steps[0] != PACKAGE:
        return None
    for length in range(len(steps), 1, -1):
        path = "/".join(steps[1:length])
        if (ROOT / f"{path}.py").is_file():
            return path
    return None


def node_of(path: str, opened: tuple[str, ...]) -> str:
    """The node of a module: the first folder on its path that is not opened, or the module itself."""
    steps = path.split("/")
    for length in range(1, len(steps)):
        node = "/".join(steps[:length])
        if node not in opened and node not in {"/".join(other.split("/")[:length]) for other in opened}:
            return node
    return path


def graph(opened: tuple[str, ...] = OPEN_FOLDERS) -> dict[str, set[str]]:
    """The nodes that each node imports from; itself left out."""
    arrows: dict[str, set[str]] = {}
    for part in PARTS:
        for file in python_files(part):
            node = node_of(file.relative_to(ROOT).with_suffix("").as_posix(), opened)
            targets = arrows.setdefault(node, set())
            for name in imported_names(file):
                path = module_path(name)
                if path is not None and (target := node_of(path, opened)) != node:
                    targets.add(target)
    return arrows


def reduced(arrows: dict[str, set[str]]) -> dict[str, set[str]]:
    """The arrows without those that a longer way implies, so that the picture stays readable."""

    def reach(node: str) -> set[str]:
        nodes, pending = set(), [node]
        while pending:
            for target in arrows.get(pending.pop(), ()):
                if target not in nodes:
                    nodes.add(target)
                    pending.append(target)
        return nodes

    return {
        node: {target for target in targets if not any(target in reach(other) for other in targets - {target})}
        for node, targets in arrows.items()
    }


def mermaid(opened: tuple[str, ...]) -> str:
    """A flow chart of the nodes inside the opened folders, and of what they import from."""
    prefix = tuple(f"{folder}/" for folder in opened)
    arrows = reduced(graph(opened))
    if opened != PICTURES["The package"]:
        arrows = {
            node: {target for target in targets if target.startswith(prefix)}
            for node, targets in arrows.items()
            if node.startswith(prefix)
        }
    names = {node: node.replace("/", "_") for node in {*arrows, *(t for targets in arrows.values() for t in targets)}}
    lines = [f'    {names[node]}["{node}"]' for node in sorted(names)]
    lines += [f"    {names[node]} --> {names[target]}" for node in sorted(arrows) for target in sorted(arrows[node])]
    return "\n".join(["```mermaid", "flowchart TD", *lines, "```"])


def main() -> None:
    print("\n\n".join(f"### {title}\n\n{mermaid(opened)}" for title, opened in PICTURES.items()))


if __name__ == "__main__":
    main()
