"""Multimodal processor: makes the items that vLLM hashes, caches, schedules and hands to the model.

An item of modality `image` is one visual: a `Visual` as our server makes them, or, from plain vLLM, a picture, which is
resized here as the checkpoint's configuration says. An item of modality `video`, which only plain vLLM's chat route
makes, is all frames of one video. In the prompt its frames have a newline between them, as our server writes them, but
for a checkpoint of the authors' that pools videos: there they follow one another, with newlines among their rows.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from transformers import BatchFeature

from llava_interleave_serve.model_executor import config as checkpoint
from llava_interleave_serve.model_executor import packing
from llava_interleave_serve.model_executor import vllm_compat as vc
from llava_interleave_serve.model_executor.original import pictures
from llava_interleave_serve.model_executor.visual import Visual, VisualFormat

IMAGE_PLACEHOLDER = "<image>"  # its text, where the tokenizer has no such token
VIDEO_PLACEHOLDER = "<video>"
PORT = VisualFormat()
PROFILED_FRAMES = 32  # the most frames that plain vLLM's loader samples from a video by default


class VisualItems(vc.ProcessorBatchItems[Visual]):
    """Visuals; each is hashed by its pixels, their shape, its packing and its salt."""

    def __init__(self, visuals: Sequence[Visual]) -> None:
        super().__init__(visuals, "image")

    def get_item_for_hash(self, index: int) -> Any:
        visual = self.data[index]
        return {"views": visual.views, "packing": list(packing.encode(visual)), "salt": visual.cache_salt}


class VideoItems(vc.ProcessorBatchItems[list[Visual]]):
    """Videos; each is its frames."""

    def __init__(self, videos: Sequence[list[Visual]]) -> None:
        super().__init__(videos, "video")

    def get_item_for_hash(self, index: int) -> Any:
        frames = self.data[index]
        return {"views": _views(frames), "packings": [list(packing.encode(frame)) for frame in frames]}


class VisualParser(vc.MultiModalDataParser):
    """Makes items from a Visual, a PIL image, uint8 pixels [H, W, 3], or the frames of a video.

    size: the side of a view, in pixels. visual_format: the checkpoint's, by which pictures and videos are made visuals.
    """

    def __init__(self, size: int, visual_format: VisualFormat = PORT, expected_hidden_size: int | None = None) -> None:
        super().__init__(expected_hidden_size=expected_hidden_size)
        self.size, self.visual_format = size, visual_format

    def _get_subparsers(self) -> Mapping[str, Any]:
        return {"image": self._visuals, "video": self._videos}

    def _visuals(self, data: Any) -> VisualItems | None:
        items = data if isinstance(data, list | tuple) else [data]
        return VisualItems([self._visual(item) for item in items]) if items else None

    def _visual(self, item: Any) -> Visual:
        item = unwrap_media(item)
        if not isinstance(item, Visual):
            return pictures.visual(_rgb(item), self.size, self.visual_format)
        if (item.layout is not None or item.newline != "none") and not self.visual_format.has_newline:
            raise ValueError("this checkpoint has no newline, so that no visual can have one, nor several views")
        return item

    def _videos(self, data: Any) -> VideoItems | None:
        items = data if isinstance(data, list) else [data]
        return VideoItems([self._video(item) for item in items]) if items else None

    def _video(self, item: Any) -> list[Visual]:
        item = unwrap_media(item)
        frames: Any = unwrap_media(item[0]) if isinstance(item, tuple) else item  # (frames, metadata)
        if len(frames) == 0:
            raise ValueError("the video has no frames")
        if isinstance(frames[0], Visual):  # vLLM parses what was parsed again, where its cache lacks an item
            return list(frames)
        return pictures.video([_rgb(frame) for frame in frames], self.size, self.visual_format)


def _rgb(picture: Any) -> Image.Image:
    image = picture if isinstance(picture, Image.Image) else Image.fromarray(np.asarray(picture))
    return image.convert("RGB")


def _views(visuals: Sequence[Visual]) -> np.ndarray:
    """The views of visuals that have one each: uint8 [n, S, S, 3]."""
    return np.concatenate([visual.views for visual in visuals])


def _together(views: Sequence[np.ndarray]) -> torch.Tensor | list[torch.Tensor]:
    """Copies views of visuals, uint8 [k, S, S, 3] each: to one tensor where all k are equal."""
    if len({each.shape for each in views}) == 1:
        return torch.from_numpy(np.stack(views))
    return [torch.from_numpy(np.array(each)) for each in views]


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

    @property
    def visual_format(self) -> VisualFormat:
        return checkpoint.visual_format(self.get_hf_config())

    @property
    def image_token(self) -> int:
        token: int = self.get_hf_config().image_token_index
        return token

    @property
    def placeholder_has_text(self) -> bool:
        return checkpoint.is_generated(self.get_hf_config())

    def get_data_parser(self) -> VisualParser:
        return VisualParser(self.image_size, self.visual_format, self._get_expected_hidden_size())

    def get_supported_mm_limits(self) -> Mapping[str, int | None]:
        return {"image": None, "video": None}

    def get_mm_max_tokens_per_item(self, seq_len: int, mm_counts: Mapping[str, int]) -> Mapping[str, int]:
        # The newlines between a video's frames that are images are text: the encoder's output has no row for them.
        frames = self.dummy_video(seq_len)
        largest = self.grid**2
        if self.visual_format.has_newline:
            largest += self.grid
        if (any_resolution := self.visual_format.any_resolution) is not None:
            largest = max(largest, any_resolution.max_tokens)
        return {"image": largest, "video": sum(frame.num_tokens(self.grid) for frame in frames)}

    def dummy_picture(self) -> Visual:
        """The visual with the most views and rows."""
        any_resolution, side = self.visual_format.any_resolution, self.image_size
        if any_resolution is None:
            return Visual(np.zeros((1, side, side, 3), np.uint8))
        layouts = [any_resolution.layout(*size) for size in any_resolution.resolutions]
        layout = max(layouts, key=lambda each: (each.num_views, each.num_tokens))
        return Visual(np.zeros((layout.num_views, side, side, 3), np.uint8), layout=layout)

    def dummy_video(self, seq_len: int) -> list[Visual]:
        """The frames of a video, as many as fit a sequence, at most PROFILED_FRAMES."""
        side = self.image_size
        blank = [Image.new("RGB", (side, side))] * PROFILED_FRAMES
        frames = pictures.video(blank, side, self.visual_format)
        fitting = seq_len // (max(frame.num_tokens(self.grid) for frame in frames) + 1)
        return frames[: max(1, fitting)]

    def get_supported_mm_processor_kwargs(self) -> dict[str, set[str]]:
        return {}


class VisualDummyInputs(vc.BaseDummyInputsBuilder[VisualInfo]):
    """The largest inputs, with which vLLM measures its peak memory."""

    def get_dummy_text(self, mm_counts: Mapping[str, int]) -> str:
        image = IMAGE_PLACEHOLDER
        if self.info.placeholder_has_text:
            image = self.info.get_tokenizer().decode([self.info.image_token])
        return image * mm_counts.get("image", 0) + VIDEO_PLACEHOLDER * mm_counts.get("video", 0)

    def get_dummy_mm_data(self, seq_len: int, mm_counts: Mapping[str, int], mm_options: Any) -> dict[str, Any]:
        data: dict[str, list[Any]] = {"image": [self.info.dummy_picture()] * mm_counts.get("image", 0)}
        frames = [frame.views[0] for frame in self.info.dummy_video(seq_len)]
        data["video"] = [frames] * mm_counts.get("video", 0)
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
            features["views"] = _together([visual.views for visual in visuals])
            features["packings"] = torch.tensor([packing.encode(visual) for visual in visuals])
        if videos := list(mm_items.get("video", ())):
            features["frames"] = [torch.from_numpy(_views(frames)) for frames in videos]
            features["frame_packings"] = [torch.tensor([packing.encode(frame) for frame in video]) for video in videos]
        return BatchFeature(features)

    def apply(self, inputs: Any, timing_ctx: Any) -> Any:
        """vLLM's hook: the prompt with its placeholders replaced by those of each row.

        The text of a placeholder that is no token was tokenised with its neighbours: it is replaced first.
        """
        has_media = any(inputs.mm_data_items.get_all_counts().values())  # without any, "<image>" is a text
        if has_media and not self.info.placeholder_has_text and self.info.image_token not in inputs.prompt:
            inputs.prompt = self._placed(inputs.prompt)
        return super().apply(inputs, timing_ctx)

    def _placed(self, prompt: list[int]) -> list[int]:
        """The prompt with tokens for the texts of placeholders, and each text between tokenised by itself.

        As `tokenizer_image_token` of the reference implementation (LLaVA-NeXT, llava/mm_utils.py).
        """
        tokenizer = self.info.get_tokenizer()
        text = tokenizer.decode(prompt, skip_special_tokens=False, clean_up_tokenization_spaces=False)
        placed: list[int] = []
        for piece in re.split(f"({IMAGE_PLACEHOLDER}|{VIDEO_PLACEHOLDER})", text):
            is_image = piece == IMAGE_PLACEHOLDER
            placed += [self.info.image_token] if is_image else tokenizer.encode(piece, add_special_tokens=False)
        return placed

    def _get_mm_fields_config(
        self, hf_inputs: BatchFeature, hf_processor_mm_kwargs: Mapping[str, object]
    ) -> Mapping[str, vc.MultiModalFieldConfig]:
        return {
            "views": vc.MultiModalFieldConfig.batched("image"),
            "packings": vc.MultiModalFieldConfig.batched("image", keep_on_cpu=True),
            "frames": vc.MultiModalFieldConfig.batched("video"),
            "frame_packings": vc.MultiModalFieldConfig.batched("video", keep_on_cpu=True),
        }

    def _get_prompt_updates(
        self,
        mm_items: vc.MultiModalDataItems,
        hf_processor_mm_kwargs: Mapping[str, object],
        out_mm_kwargs: vc.MultiModalKwargsItems,
    ) -> Sequence[vc.PromptUpdate]:
        tokenizer = self.info.get_tokenizer()
        image_token, grid = self.info.image_token, self.info.grid
        is_text = self.info.visual_format.video_pooling is None  # frames are images, with text between
        between = tokenizer.encode("\n", add_special_tokens=False) if is_text else []

        def visual_rows(item: int) -> list[int]:
            return [image_token] * mm_items["image"][item].num_tokens(grid)

        def video_rows(item: int) -> vc.PromptUpdateDetails:
            rows: list[int] = []
            for frame in mm_items["video"][item]:
                rows += [*(between if rows else []), *[image_token] * frame.num_tokens(grid)]
            return vc.PromptUpdateDetails.select_token_id(rows, image_token)

        placeholder = tokenizer.encode(VIDEO_PLACEHOLDER, add_special_tokens=False)
        return [
            vc.PromptReplacement(modality="image", target=[image_token], replacement=visual_rows),
            vc.PromptReplacement(modality="video", target=placeholder, replacement=video_rows),
        ]
