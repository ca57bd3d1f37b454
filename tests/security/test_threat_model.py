"""The list of attacks in docs/threat-model.md and the test classes of this folder and those in it agree, both ways."""

import ast
import re
from pathlib import Path

from llava_interleave_serve.server.limits import Limits

ROOT = Path(__file__).resolve().parents[2]
THREAT_MODEL = (ROOT / "docs" / "threat-model.md").read_text()


def attack_classes() -> list[str]:
    """The names of all test classes below this folder, but for this file's own."""
    files = [file for file in Path(__file__).parent.rglob("test_*.py") if file != Path(__file__)]
    trees = [ast.parse(file.read_text()) for file in files]
    return [
        node.name
        for tree in trees
        for node in tree.body
        if isinstance(node, ast.ClassDef) and node.name.startswith("Test")
    ]


class TestThreatModel:
    def test_every_test_class_that_is_named_exists_and_every_test_class_is_named(self) -> None:
        assert set(re.findall(r"`(Test\w+)`", THREAT_MODEL)) == set(attack_classes())

    def test_every_test_class_has_a_name_of_its_own(self) -> None:
        names = attack_classes()
        assert len(names) == len(set(names))

    def test_every_attack_is_tried(self) -> None:
        rows = re.findall(r"^\| (?!attack |attacker |---)([^|]+)\|([^|]+)\|([^|]+)\|$", THREAT_MODEL, re.MULTILINE)
        assert rows
        for attack, _, tests in rows:
            assert "`Test" in tests, attack

    def test_every_module_that_is_named_exists(self) -> None:
        for path in re.findall(r"`((?:server|model_executor|kernels)/[\w/]+\.py)`", THREAT_MODEL):
            assert (ROOT / path).exists(), path

    def test_every_test_function_is_in_a_class(self) -> None:
        for file in Path(__file__).parent.rglob("test_*.py"):
            functions = [node for node in ast.parse(file.read_text()).body if isinstance(node, ast.FunctionDef)]
            assert not [node.name for node in functions if node.name.startswith("test_")], file

    def test_the_defaults_that_are_named_are_those_of_the_server(self) -> None:
        limits = Limits()
        units = {"": 1, " s": 1, " MiB": 1 << 20, " GiB": 1 << 30, " GiB of address space": 1 << 30}
        named = re.findall(r"`--([a-z-]+)` \(([\d,]+)([^)]*)\)", THREAT_MODEL)
        assert named
        for option, number, unit in named:
            default = getattr(limits, option.replace("-", "_"), None)
            if default is not None:
                assert int(number.replace(",", "")) * units[unit] == default, option
