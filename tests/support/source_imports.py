"""The imports that a source file contains, read from its syntax tree."""

import ast
from pathlib import Path


def top_level_packages(file: Path) -> set[str]:
    """Returns the top-level names of all modules that the file imports, wherever in it."""
    packages: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            packages |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            packages.add(node.module.partition(".")[0])
    return packages
