"""What the engine gets of a chat request is what the authors' code was given, for every prompt of the vectors.

tests/model_executor/original holds that the engine makes the authors' tokens of it.
"""

import numpy as np
import pytest

from llava_interleave_serve.model_executor.visual import VisualFormat
from tests.support.app_client import CHAT, serving
from tests.support.original import cases, questions
from tests.support.original.fake_engine import ANYRES, DPO, IMAGE_TOKEN, engine

pytestmark = pytest.mark.anyio
FORMATS = {"checkpoint-anyres": ANYRES, "checkpoint-dpo": DPO}
CASES = {case.name: case for case in cases.all_cases()}
# Pillow 13, which makes the views of the cases, resizes the height of tall pictures first; this server the width, as
# Pillow did when the checkpoints were evaluated. These pictures differ by one level then.
TALL = {"a_tall6", "b_three_list4d", "e_pad_one"}
RECORDS = [record for checkpoint in FORMATS for record in questions.records(checkpoint)]


def test_the_formats_here_are_those_of_the_checkpoints_configurations() -> None:
    for case in CASES.values():
        if not case.record["config_overwrites"]:
            assert FORMATS[case.record["checkpoint"]] == case.config().visual_format


@pytest.mark.parametrize("record", RECORDS, ids=[record["name"] for record in RECORDS])
async def test_the_engine_gets_the_authors_prompt_and_views(record: dict[str, object]) -> None:
    case = CASES[str(record["name"])]
    visual_format: VisualFormat = FORMATS[str(record["checkpoint"])]
    fake = engine(visual_format)
    async with serving(fake) as client:
        answer = await client.post(CHAT, json=questions.request(case.record))
    assert answer.status_code == 200, answer.text
    ((token_ids, visuals, _),) = fake.asked
    runs = iter(case.visuals())
    expected_ids = [
        token
        for each in case.token_ids(cases.PLACEHOLDER)
        for token in ([IMAGE_TOKEN] * len(next(runs)) if each == cases.PLACEHOLDER else [each])
    ]
    assert token_ids == expected_ids
    expected = [visual for run in case.visuals() for visual in run]
    assert [(each.pooling, each.newline, each.layout) for each in visuals] == [
        (each.pooling, each.newline, each.layout) for each in expected
    ]
    for visual, other in zip(visuals, expected, strict=True):
        difference = np.abs(visual.views.astype(int) - other.views.astype(int)).max()
        assert difference <= (case.name in TALL), difference
