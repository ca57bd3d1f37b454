"""A checkpoint in the authors' format gets prompts, views and newlines as the authors' programs make them."""

import base64
import dataclasses
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from PIL import Image

from llava_interleave_serve.model_executor.visual import Pooling, VisualFormat
from llava_interleave_serve.server.limits import Limits
from tests.support import scene_parts
from tests.support.app_client import CHAT, PLAN, body, serving
from tests.support.image_files import encode
from tests.support.original.fake_engine import ANYRES, DPO, FOLDER, IMAGE_TOKEN, TINY, engine

pytestmark = pytest.mark.anyio
PROMPTS = {record["name"]: record for record in json.loads((FOLDER / "f_prompts.json").read_text())}
# A message that ends in an answer asks nothing; and a user's text never becomes a control token here.
NOT_ASKED = ("answer_given", "special_tokens_and_unicode_in_text")
PLACEHOLDER = -200  # of the records
VIEW, VIEW_AND_NEWLINE = 25, 26
ROLES = {"human": "user", "gpt": "assistant"}


def image(name: str = "land.png", **options: Any) -> dict[str, Any]:
    return image_of((FOLDER / name).read_bytes(), **options)


def image_of(data: bytes, **options: Any) -> dict[str, Any]:
    url = "data:image/png;base64," + base64.b64encode(data).decode()
    return {"type": "image_url", "image_url": {"url": url, **options}}


def frames(**options: Any) -> dict[str, Any]:
    urls = [image(f"frame{number}.png")["image_url"] for number in range(3)]
    return {"type": "video_frames", "video_frames": {"frames": urls, **options}}


def content(text: str, *, has_image: bool = True) -> list[dict[str, Any]]:
    """A question's parts, as `llava-interleave eval` sends them."""
    first, *rest = text.split("<image>") if has_image else [text]
    parts = [scene_parts.text_part(first)]
    for piece in rest:
        parts += [image(), scene_parts.text_part(piece)]
    return [part for part in parts if part.get("text") != ""]


def messages(record: dict[str, Any]) -> list[dict[str, Any]]:
    has_image = any("image" in piece for piece in record["pieces"])
    turns = []
    for message in record["messages"]:
        if message["value"] is not None:
            text = message["value"]
            is_question = message["from"] == "human"
            turns.append({
                "role": ROLES[message["from"]],
                "content": content(text, has_image=has_image) if is_question else text,
            })  # fmt: skip
    return turns


async def asked(
    client: Any, fake: Any, messages: Sequence[dict[str, Any]], **fields: Any
) -> tuple[list[int], list[Any], dict[str, Any]]:
    """The prompt's ids, the visuals' tokens and the media usage of an answer; a plan must count the same tokens."""
    request = {"messages": list(messages), **fields}
    plan = (await client.post(PLAN, json=request)).json()
    answer = await client.post(CHAT, json=request)
    assert answer.status_code == 200, answer.text
    token_ids, visuals, _ = fake.asked[-1]
    usage = answer.json()["media_usage"]
    assert plan["exact"], plan
    assert plan["visual_tokens"] == usage["visual_tokens"] == sum(each.num_tokens(5) for each in visuals)
    assert plan["prompt_tokens"] == len(token_ids) - len(visuals) + usage["visual_tokens"]
    return token_ids, visuals, usage


@pytest.mark.parametrize("name", [name for name in PROMPTS if name not in (*NOT_ASKED, "bench_second_turn")])
async def test_prompts_are_those_of_preprocess_qwen(name: str) -> None:
    record, fake = PROMPTS[name], engine()
    async with serving(fake) as client:
        token_ids, _, _ = await asked(client, fake, messages(record), prompt_style="preprocess_qwen")
    assert token_ids == [IMAGE_TOKEN if token == PLACEHOLDER else token for token in record["input_ids"]]


@pytest.mark.parametrize(
    "name", [name for name in PROMPTS if "conv_template_input_ids" in PROMPTS[name] and name not in NOT_ASKED]
)
async def test_prompts_of_the_demo_are_those_of_the_conversation_template(name: str) -> None:
    record, fake = PROMPTS[name], engine()
    async with serving(fake) as client:
        token_ids, _, _ = await asked(client, fake, messages(record), prompt_style="demo")
    expected = record["conv_template_input_ids"]
    assert token_ids == [IMAGE_TOKEN if token == PLACEHOLDER else token for token in expected]


async def test_the_second_turn_of_the_bench_has_the_system_block_again() -> None:
    record, fake = PROMPTS["bench_second_turn"], engine()
    (first, _), answer, (second, _) = record["messages"]
    tokenizer = json.loads(fake.facts.tokenizer)["model"]["vocab"]
    text = {number: token for token, number in tokenizer.items()}
    turns: list[dict[str, Any]] = [
        {"role": "user", "content": content(first["value"])},
        {"role": "assistant", "content": "".join(text[token] for token in answer[:-1]).replace("\u0120", " ")},
        {"role": "user", "content": content(second["value"])},
    ]
    async with serving(fake) as client:
        token_ids, _, _ = await asked(client, fake, turns)  # the default of these checkpoints
    assert token_ids == [IMAGE_TOKEN if token == PLACEHOLDER else token for token in record["input_ids"]]


async def test_what_the_user_types_is_no_control_token_whatever_the_style() -> None:
    fake = engine()
    async with serving(fake) as client:
        for style in ("chat", "preprocess_qwen", "bench", "demo"):
            token_ids, _, _ = await asked(client, fake, [{"role": "user", "content": "<|im_end|>"}], prompt_style=style)
            assert token_ids.count(390) == 2  # of the system block and the question


@pytest.mark.parametrize(
    ("file", "tokens"), [("square.png", 135), ("land.png", 113), ("tiny.png", 49), ("wide6.png", 73)]
)
async def test_an_image_that_is_alone_is_shown_through_any_resolution(file: str, tokens: int) -> None:
    fake = engine()
    async with serving(fake) as client:
        _, (visual,), usage = await asked(client, fake, [{"role": "user", "content": [image(file)]}])
    assert usage["visual_tokens"] == tokens
    (part,) = usage["parts"]
    with Image.open(FOLDER / file) as picture:
        assert part["size"] == list(picture.size)
        assert visual.layout == TINY.layout(*picture.size)
    assert part["views"] == len(visual.views) == visual.layout.num_views


async def test_a_limit_of_tiles_reduces_the_tokens_and_not_the_views() -> None:
    limited = dataclasses.replace(TINY, max_tiles=1)  # as anyres_max_9 of LLaVA-OneVision
    fake = engine(dataclasses.replace(ANYRES, any_resolution=limited))
    async with serving(fake) as client:
        _, (visual,), usage = await asked(client, fake, [{"role": "user", "content": [image("square.png")]}])
    assert (len(visual.views), usage["visual_tokens"]) == (5, 25 + 5 * 6)


async def test_of_several_images_each_is_one_view_with_a_newline_and_without_in_the_demo() -> None:
    fake, two = engine(), [{"role": "user", "content": [image(), image("port.png")]}]
    async with serving(fake) as client:
        assert (await asked(client, fake, two))[2]["visual_tokens"] == 2 * VIEW_AND_NEWLINE
        assert (await asked(client, fake, two, prompt_style="demo"))[2]["visual_tokens"] == 2 * VIEW


@pytest.mark.parametrize(("options", "tokens"), [
    ({"detail": "low"}, VIEW_AND_NEWLINE), ({"detail": "high"}, 113), ({"detail": "auto"}, 113),
    ({"resizing": "squash"}, VIEW_AND_NEWLINE), ({"resizing": "pad"}, VIEW_AND_NEWLINE),
    ({"resizing": "anyres"}, 113),
    ({"newline": "no_token"}, VIEW), ({"newline": "grid"}, 30), ({"newline": "one_token"}, 26),
    ({"pooling": "average"}, 5), ({"pooling": "bilinear", "newline": "no_token"}, 9),
    ({"width": 200, "height": 150}, 113),
])  # fmt: skip
async def test_the_options_of_an_image_say_how_it_is_shown(options: dict[str, Any], tokens: int) -> None:
    fake = engine()
    async with serving(fake) as client:
        _, _, usage = await asked(client, fake, [{"role": "user", "content": [image(**options)]}])
    assert usage["visual_tokens"] == tokens


async def test_detail_high_is_any_resolution_among_several_images_too() -> None:
    fake = engine()
    async with serving(fake) as client:
        _, visuals, _ = await asked(client, fake, [{"role": "user", "content": [image(detail="high"), image()]}])
    assert [each.num_tokens(5) for each in visuals] == [113, VIEW_AND_NEWLINE]


@pytest.mark.parametrize(("options", "newlines", "tokens"), [
    ({}, ["end"] * 3, 78), ({"newline": "no_token"}, ["none"] * 3, 75),
    ({"newline": "one_token"}, ["none", "none", "end"], 76),
    ({"modality": "video", "pooling": "average"}, ["none", "none", "end"], 13),
    ({"modality": "video", "pooling": "bilinear", "newline": "grid"}, ["row"] * 3, 36),
    ({"modality": "video", "pooling": "max", "newline": "frame"}, ["end"] * 3, 15),
])  # fmt: skip
async def test_frames_are_images_or_a_video_of_the_authors(
    options: dict[str, Any], newlines: list[str], tokens: int
) -> None:
    fake = engine()
    async with serving(fake) as client:
        token_ids, visuals, usage = await asked(client, fake, [{"role": "user", "content": [frames(**options)]}])
    assert [visual.newline for visual in visuals] == newlines
    assert usage["visual_tokens"] == tokens
    run = [IMAGE_TOKEN] * 3 if options.get("modality") == "video" else [IMAGE_TOKEN, 198] * 2 + [IMAGE_TOKEN]
    assert any(token_ids[start : start + len(run)] == run for start in range(len(token_ids)))


async def test_a_checkpoint_with_a_pooled_video_mode_has_it_by_default() -> None:
    pooled = VisualFormat("anyres", TINY, True, Pooling("bilinear", 2), "one_token")
    fake = engine(pooled)
    async with serving(fake) as client:
        _, visuals, usage = await asked(client, fake, [{"role": "user", "content": [frames()]}])
        assert (usage["visual_tokens"], visuals[0].pooling) == (28, Pooling("bilinear", 2))
        _, _, usage = await asked(client, fake, [{"role": "user", "content": [frames(modality="image")]}])
        assert usage["visual_tokens"] == 3 * VIEW_AND_NEWLINE


async def test_a_checkpoint_that_pads_pads_an_image_that_is_alone_and_has_no_newline() -> None:
    fake = engine(DPO)
    async with serving(fake) as client:
        _, (padded,), usage = await asked(client, fake, [{"role": "user", "content": [image("wide6.png")]}])
        assert usage["visual_tokens"] == VIEW
        assert (padded.views[0, 0] == 127).all()
        _, (squashed, _), _ = await asked(client, fake, [{"role": "user", "content": [image("wide6.png"), image()]}])
        assert not (squashed.views[0, 0] == 127).all()


@pytest.mark.parametrize(("visual_format", "part", "param"), [
    (DPO, image(newline="one_token"), "image_url.newline"), (DPO, image(resizing="anyres"), "image_url.resizing"),
    (ANYRES, frames(modality="video"), "video_frames.modality"),
    (ANYRES, image(width=10, height=10), "image_url.width"),
    (ANYRES, image(width=10), "image_url"), (ANYRES, image(detail="high", resizing="pad"), "image_url"),
    (ANYRES, image(resizing="anyres", pooling="average"), "image_url"),
    (ANYRES, image(resizing="anyres", newline="grid"), "image_url"),
    (ANYRES, image(detail="high", newline="grid"), "image_url.newline"),
    (DPO, image(detail="high", newline="grid"), "image_url.newline"),
    (ANYRES, frames(newline="rows"), "video_frames.newline"),
])  # fmt: skip
async def test_what_the_checkpoint_cannot_show_is_refused_by_name(
    visual_format: VisualFormat, part: dict[str, Any], param: str
) -> None:
    fake = engine(visual_format)
    async with serving(fake) as client:
        answer = await client.post(CHAT, json=body(part))
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == f"messages[0].content[0].{param}"
    assert not fake.asked


async def test_the_plan_of_an_image_elsewhere_is_a_bound_until_its_size_is_stated() -> None:
    async with serving(engine()) as client:
        part = {"type": "image_url", "image_url": {"url": "https://example.org/a.png"}}
        bound = (await client.post(PLAN, json=body(part))).json()
        part["image_url"] |= {"width": 200, "height": 150}  # type: ignore[operator]
        exact = (await client.post(PLAN, json=body(part))).json()
    assert (bound["exact"], bound["visual_tokens"]) == (False, TINY.max_tokens)
    assert (exact["exact"], exact["visual_tokens"]) == (True, 113)


async def test_a_budget_shows_an_image_as_one_view_before_it_pools_it() -> None:
    fake = engine()
    async with serving(fake) as client:
        for budget, tokens in ((113, 113), (112, VIEW_AND_NEWLINE), (25, 10)):
            _, _, usage = await asked(client, fake, [{"role": "user", "content": [image()]}], max_visual_tokens=budget)
            assert usage["visual_tokens"] == tokens, budget
        for options in ({"detail": "high"}, {"resizing": "anyres"}):
            refused = await client.post(CHAT, json=body(image(**options), max_visual_tokens=112))
            assert refused.json()["error"]["param"] == "max_visual_tokens"
        for options in ({"detail": "auto"}, {"pooling": "none"}):
            _, _, usage = await asked(
                client, fake, [{"role": "user", "content": [image(**options)]}], max_visual_tokens=112
            )
            assert usage["visual_tokens"] == VIEW_AND_NEWLINE


async def test_views_are_what_limits_and_admission_count() -> None:
    five = image("square.png")
    async with serving(engine(), limits=Limits(max_visuals=4)) as client:
        refused = await client.post(CHAT, json=body(five))
        assert "may have 5 visuals" in refused.json()["error"]["message"]
    fake = engine()
    async with serving(fake) as client:
        loads = []
        fake.was_asked.clear()
        original = fake.chat

        async def chat(*args: Any) -> Any:
            loads.append(client.server.admission.load)
            return await original(*args)

        fake.chat = chat  # type: ignore[method-assign,assignment]
        assert (await client.post(CHAT, json=body(five))).status_code == 200
    assert (loads[0].visuals, loads[0].visual_tokens) == (5, 135)


async def test_the_counts_of_a_plan_are_those_of_the_answer_for_pictures_of_many_shapes() -> None:
    fake, generator = engine(), np.random.default_rng(17)
    sizes = [(1, 1), (1, 40), (40, 1), *((int(w), int(h)) for w, h in generator.integers(1, 300, (12, 2)))]
    async with serving(fake) as client:
        for size in sizes:
            part = image_of(encode(Image.new("RGB", size)))
            _, (visual,), _ = await asked(client, fake, [{"role": "user", "content": [part]}])
            assert visual.layout == TINY.layout(*size)
