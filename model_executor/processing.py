"""Multimodal processor: makes the items that vLLM hashes, caches, schedules and hands to the model.

An item of modality `image` is one visual: a `Visual` as our server makes them, or, from plain vLLM, a picture, which is
resized here. An item of modality `video`, which only plain vLLM's chat route makes, is all frames of one video. In the
prompt its frames have a newline between them, as our server writes them.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from transformers import BatchFeature

from llava_interleave_serve.model_executor import config as checkpoint
from llava_interleave_serve.model_executor import vllm_compat as vc
from llava_interleave_serve.model_executor.visual import POOLING_MODES, Pooling, Visual

VIDEO_PLACEHOLDER = "<video>"
PROFILED_FRAMES = 32  # the most frames that plain vLLM's loader samples from a video by default


class VisualItems(vc.ProcessorBatchItems[Visual]):
    """Visuals; each is hashed by its pixels, their shape, its pooling and its salt."""

    def __init__(self, visuals: Sequence[Visual]) -> None:
        super().__init__(visuals, "image")

    def get_item_for_hash(self, index: int) -> Any:
        visual = self.data[index]
        pooling = {"mode": visual.pooling.mode, "stride": visual.pooling.stride}
        return {"views": visual.views, **pooling, "salt": visual.cache_salt}


class VideoItems(vc.ProcessorBatchItems[np.ndarray]):
    """Videos; each is uint8 [n, S, S, 3], the views of its frames."""

    def __init__(self, videos: Sequence[np.ndarray]) -> None:
        super().__init__(videos, "video")


class VisualParser(vc.MultiModalDataParser):
    """Makes items from a Visual, a PIL image, uint8 pixels [H, W, 3], or the frames of a video."""

    def __init__(self, size: int, expected_hidden_size: int | None) -> None:
        super().__init__(expected_hidden_size=expected_hidden_size)
        self.size = size

    def _get_subparsers(self) -> Mapping[str, Any]:
        return {"image": self._visuals, "video": self._videos}

    def _visuals(self, data: Any) -> VisualItems | None:
        items = data if isinstance(data, list | tuple) else [data]
        return VisualItems([self._visual(item) for item in items]) if items else None

    def _visual(self, item: Any) -> Visual:
        item = unwrap_media(item)
        return item if isinstance(item, Visual) else Visual(self._view(item)[None])

    def _view(self, picture: Any) -> np.ndarray:
        image = picture if isinstance(picture, Image.Image) else Image.fromarray(np.asarray(picture))
        resized = image.convert("RGB").resize((self.size, self.size), Image.Resampling.BICUBIC)
        return np.asarray(resized)

    def _videos(self, data: Any) -> VideoItems | None:
        items = data if isinstance(data, list) else [data]
        return VideoItems([self._video(item) for item in items]) if items else None

    def _video(self, item: Any) -> np.ndarray:
        item = unwrap_media(item)
        frames: Any = unwrap_media(item[0]) if isinstance(item, tuple) else item  # (frames, metadata)
        if len(frames) == 0:
            raise ValueError("the video has no frames")
        return np.stack([self._view(frame) for frame in frames])


def unwrap_media(item: Any) -> Any:
    """The decoded medium of vLLM's `MediaWithBytes`, which holds the file's bytes too; other items as they are."""
    return getattr(item, "media", item)


class VisualInfo(vc.BaseProcessingInfo):
    """Sizes and limits of this checkpoint's visuals."""

    @property
    def grid(self) -> int:
        return checkpoint.grid(self.get_hf_config())

    @property
    def image_size(self) -> int:
        size: int = self.get_hf_config().vision_config.image_size
        return size

    def get_data_parser(self) -> VisualParser:
        return VisualParser(self.image_size, self._get_expected_hidden_size())

    def get_supported_mm_limits(self) -> Mapping[str, int | None]:
        return {"image": None, "video": None}

    def get_mm_max_tokens_per_item(self, seq_len: int, mm_counts: Mapping[str, int]) -> Mapping[str, int]:
        # The newlines between a video's frames are text: the encoder's output has no row for them.
        return {"image": self.grid**2, "video": self.profiled_frames(seq_len) * self.grid**2}

    def profiled_frames(self, seq_len: int) -> int:
        """The number of a video's frames that fit a sequence, at most PROFILED_FRAMES."""
        return max(1, min(PROFILED_FRAMES, seq_len // (self.grid**2 + 1)))

    def get_supported_mm_processor_kwargs(self) -> dict[str, set[str]]:
        return {}


class VisualDummyInputs(vc.BaseDummyInputsBuilder[VisualInfo]):
    """The largest inputs, with which vLLM measures its peak memory."""

    def get_dummy_text(self, mm_counts: Mapping[str, int]) -> str:
        image = self.info.get_tokenizer().decode([self.info.get_hf_config().image_token_index])
        return image * mm_counts.get("image", 0) + VIDEO_PLACEHOLDER * mm_counts.get("video", 0)

    def get_dummy_mm_data(self, seq_len: int, mm_counts: Mapping[str, int], mm_options: Any) -> dict[str, Any]:
        frames = self.info.profiled_frames(seq_len)
        views = np.zeros((frames, self.info.image_size, self.info.image_size, 3), np.uint8)
        data = {"image": [Visual(views[:1])] * mm_counts.get("image", 0), "video": [views] * mm_counts.get("video", 0)}
        return {modality: items for modality, items in data.items() if items}


class VisualProcessor(vc.BaseMultiModalProcessor[VisualInfo]):
    """Passes views on unchanged, as uint8, to the device, where the tower normalises them."""

    def _apply_hf_processor_main(
        self, mm_items: vc.MultiModalDataItems, hf_kwargs: Mapping[str, object]
    ) -> BatchFeature:
        if hf_kwargs:
            raise ValueError(f"this model's processor has no options, but {', '.join(hf_kwargs)} came")
        features: dict[str, Any] = {}
        if visuals := list(mm_items.get("image", ())):
            features["views"] = torch.from_numpy(np.stack([visual.views for visual in visuals]))
            features["poolings"] = torch.tensor([encode_pooling(visual.pooling) for visual in visuals])
        if videos := list(mm_items.get("video", ())):
            features["frames"] = [torch.from_numpy(frames) for frames in videos]
        return BatchFeature(features)

    def _get_mm_fields_config(
        self, hf_inputs: BatchFeature, hf_processor_mm_kwargs: Mapping[str, object]
    ) -> Mapping[str, vc.MultiModalFieldConfig]:
        return {
            "views": vc.MultiModalFieldConfig.batched("image"),
            "poolings": vc.MultiModalFieldConfig.batched("image", keep_on_cpu=True),
            "frames": vc.MultiModalFieldConfig.batched("video"),
        }

    def _get_prompt_updates(
        self,
        mm_items: vc.MultiModalDataItems,
        hf_processor_mm_kwargs: Mapping[str, object],
        out_mm_kwargs: vc.MultiModalKwargsItems,
    ) -> Sequence[vc.PromptUpdate]:
        tokenizer = self.info.get_tokenizer()
        image_token: int = self.info.get_hf_config().image_token_index
        newline = tokenizer.encode("\n", add_special_tokens=False)
        grid = self.info.grid

        def visual_rows(item: int) -> list[int]:
            return [image_token] * mm_items["image"][item].num_tokens(grid)

        def video_rows(item: int) -> vc.PromptUpdateDetails:
            frame = [image_token] * grid**2
            rows = frame + (newline + frame) * (len(mm_items["video"][item]) - 1)
            return vc.PromptUpdateDetails.select_token_id(rows, image_token)

        placeholder = tokenizer.encode(VIDEO_PLACEHOLDER, add_special_tokens=False)
        return [
            vc.PromptReplacement(modality="image", target=[image_token], replacement=visual_rows),
            vc.PromptReplacement(modality="video", target=placeholder, replacement=video_rows),
        ]


def encode_pooling(pooling: Pooling) -> tuple[int, int]:
    """A pooling as two integers, a row of an int64 tensor: the index of its mode, and its stride."""
    return POOLING_MODES.index(pooling.mode), pooling.stride


def decode_pooling(numbers: Sequence[int]) -> Pooling:
    """The inverse of `encode_pooling`."""
    mode, stride = numbers
    return Pooling(POOLING_MODES[mode], stride)
