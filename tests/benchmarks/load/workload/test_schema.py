"""Workload files are read by their schema, and a fault in one is named."""

import json
import tomllib
from pathlib import Path

import jsonschema
import pytest

from llava_interleave_serve.benchmarks.load.workload import schema
from llava_interleave_serve.benchmarks.load.workload.schema import WorkloadError

SMALL = """
name = "small"
[media]
sizes = ["64x48"]
[[classes]]
name = "a"
kind = "images"
visuals = "2-4"
repeat = {order = 0.5}
target = {ttft = 1, share = 0.9}
[[classes]]
name = "b"
kind = "frames"
visuals = [10, 16]
media = {formats = ["png"]}
"""


def test_a_workload_file_is_read_with_all_its_fields() -> None:
    read = schema.parse(tomllib.loads(SMALL))
    first, second = read.classes
    assert first.visuals == (2, 3, 4)
    assert first.repeat.order == 0.5
    assert first.target.limits == {"ttft": 1.0}
    assert second.visuals == (10, 16)


def test_media_of_a_workload_hold_for_every_class_that_does_not_override_them() -> None:
    first, second = schema.parse(tomllib.loads(SMALL)).classes
    assert (first.media.sizes, first.media.formats) == (((64, 48),), ("jpeg",))
    assert (second.media.sizes, second.media.formats) == (((64, 48),), ("png",))


@pytest.mark.parametrize("source", ['source = "noise"', 'source = "folder"\nfolder = "/"', 'source = "scenes"'])
def test_the_shared_source_is_not_that_of_a_class_that_asks(source: str) -> None:
    asks = SMALL.replace('kind = "images"', 'kind = "images"\nask = "which"')
    first, second = schema.parse(tomllib.loads(asks.replace("[media]", f"[media]\n{source}"))).classes
    assert first.media.folder == ""
    assert first.media.sizes == ((64, 48),)
    assert f'source = "{second.media.source}"' in source


@pytest.mark.parametrize("name", schema.preset_names())
def test_presets_are_valid_and_have_a_target_for_every_class(name: str) -> None:
    read = schema.load(name)
    assert read.name == name
    assert read.description
    assert all(kind.target.limits for kind in read.classes)


def test_there_is_a_preset_for_each_kind_of_load() -> None:
    wanted = {"mixed", "paper", "text", "multi-image", "video", "multi-view", "multi-turn", "demo"}
    assert wanted <= set(schema.preset_names())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("ttft = 1", "tfft = 1"), r"classes\[0\]\.target\.tfft: there is no such key; known here: ttft"),
        (('visuals = "2-4"', 'visuals = "4-2"'), r"classes\[0\]\.visuals: expected a number, a list, or a range"),
        (('visuals = "2-4"', "visuals = 0"), r"classes\[0\]\.visuals\[0\]: expected a whole number, at least 1"),
        (('visuals = "2-4"', "visuals = true"), r"whole number"),
        (('kind = "images"', 'kind = "image"'), r"classes\[0\]\.kind: expected one of text, images"),
        (('kind = "images"', 'kinds = "images"'), r"classes\[0\]\.kinds"),
        (('kind = "images"', ""), r"classes\[0\]\.kind is missing"),
        (("order = 0.5", "order = 0.5, exact = 0.6"), r"classes\[0\]\.repeat: the shares add up to 1.1"),
        (("order = 0.5", "sliding = 0.5"), r'classes\[0\]: repeat.sliding is for kind = "frames"'),
        (("order = 0.5", "order = 1.5"), r"repeat\.order: expected a number at least 0, at most 1"),
        (('sizes = ["64x48"]', 'sizes = ["64*48"]'), r"media\.sizes\[0\]: expected a size"),
        (('sizes = ["64x48"]', "sizes = []"), r"media\.sizes: expected a list"),
        (('sizes = ["64x48"]', 'source = "folder"'), r"media.folder goes with"),
        (('sizes = ["64x48"]', 'source = "folder"\nfolder = "/nowhere/at/all"'), r"is not a folder"),
        (('name = "b"', 'name = "a"'), r"two classes have the name 'a'"),
        (("ttft = 1", "ttft = 0"), r"expected a number above 0"),
        (('name = "small"', 'name = "small"\nseed = 1.5'), r"seed: expected a whole number"),
        (('kind = "frames"', 'kind = "frames"\nplacement = "random"'), r"is for images"),
        (('kind = "frames"', 'kind = "frames"\nask = "which"'), r'ask = "which" is for images, not for frames'),
        (('visuals = "2-4"', 'visuals = "2-4"\nask = "which"\nturns = 2'), r"one turn"),
        (('visuals = "2-4"', 'visuals = "2-9"\nask = "which"'), r"2 to 8 visuals"),
        (('visuals = "2-4"', 'visuals = "2-4"\nask = "which"\nprompt_words = 20'), r"classes\[0\]: .* no prompt_words"),
        (('name = "a"', 'name = "a"\nask = "which"\nmedia = {source = "noise"}'), r'shows scenes, .*source = "noise"'),
        (
            ('name = "a"', 'name = "a"\nask = "which"\nmedia = {source = "folder", folder = "/"}'),
            r'shows scenes, .*source = "folder"',
        ),
        (("repeat = {order = 0.5}", 'ask = "change"'), r'ask = "change" needs 2 visuals'),
        (('name = "a"', 'name = ""'), r"classes\[0\]\.name: expected text"),
        (('sizes = ["64x48"]', 'sizes = ["8x48"]'), r"^media\.sizes\[0\]: expected a size .* 16 pixels or more a side"),
        (('sizes = ["64x48"]', "sizes = [[64, 48]]"), r"^media\.sizes\[0\]: expected a size"),
        (("share = 0.9", "share = true"), r"^classes\[0\]\.target\.share: expected a number above 0, .* not True"),
        (("share = 0.9", "share = nan"), r"^classes\[0\]\.target\.share: expected a number"),
        (("repeat = {order = 0.5}", "repeat = 3"), r"^classes\[0\]\.repeat: expected a table, not 3"),
        (('name = "small"', 'name = "small"\nsed = 1'), r"^sed: there is no such key; known here: name, description"),
        (('formats = ["png"]', 'formats = ["gif"]'), r"^classes\[1\]\.media\.formats\[0\]: expected one of jpeg"),
    ],
)
def test_a_fault_in_a_workload_file_is_named(change: tuple[str, str], message: str) -> None:
    assert change[0] in SMALL
    with pytest.raises(WorkloadError, match=message):
        schema.parse(tomllib.loads(SMALL.replace(change[0], change[1], 1)))


def test_the_committed_json_schema_is_that_of_the_code() -> None:
    committed = Path(schema.__file__).with_name("workload.schema.json")
    assert committed.read_text() == schema.json_schema()


@pytest.mark.parametrize("name", schema.preset_names())
def test_presets_name_their_json_schema_and_are_valid_by_it(name: str) -> None:
    text = (schema.PRESETS / f"{name}.toml").read_text()
    reference = text.splitlines()[0].removeprefix("#:schema ")
    described = json.loads((schema.PRESETS / reference).read_text())
    jsonschema.validate(tomllib.loads(text), described, cls=jsonschema.Draft202012Validator)


@pytest.mark.parametrize("change", [("visuals = [10, 16]", "visuals = [0]"), ("ttft = 1", "tfft = 1")])
def test_the_json_schema_refuses_wrong_values_and_unknown_keys(change: tuple[str, str]) -> None:
    described = json.loads(schema.json_schema())
    jsonschema.validate(tomllib.loads(SMALL), described)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(tomllib.loads(SMALL.replace(*change)), described)


def test_an_unknown_preset_is_an_error_that_lists_the_presets() -> None:
    with pytest.raises(WorkloadError, match=r"neither a file nor a preset \(demo, mixed"):
        schema.load("mixt")


def test_a_workload_file_that_is_no_toml_is_an_error(tmp_path: Path) -> None:
    file = tmp_path / "load.toml"
    file.write_text("name = ")
    with pytest.raises(WorkloadError, match=r"load\.toml"):
        schema.load(str(file))
