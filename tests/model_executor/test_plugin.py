"""The plugin is registered by its entry point, which vLLM loads in each of its processes."""

from importlib.metadata import entry_points

import pytest

from llava_interleave_serve.model_executor import plugin


def test_vllm_finds_the_plugin_by_its_entry_point() -> None:
    (entry,) = [entry for entry in entry_points(group="vllm.general_plugins") if entry.name == "llava_interleave"]
    assert entry.load() is plugin.register


def test_another_version_of_vllm_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plugin, "version", lambda name: "0.33.0")
    with pytest.raises(RuntimeError, match=r"needs vLLM 0\.32\.\*, but 0\.33\.0 is installed"):
        plugin.register()


def test_registering_the_plugin_twice_is_harmless() -> None:
    from vllm import ModelRegistry

    plugin.register()
    plugin.register()
    assert "LlavaInterleaveForConditionalGeneration" in ModelRegistry.get_supported_archs()
