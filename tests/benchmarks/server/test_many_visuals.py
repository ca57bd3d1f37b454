"""Two requests of many small visuals at once: what is found wrong with a server's answers."""

import asyncio
import copy
from typing import Any

import pytest

from llava_interleave_serve.benchmarks.server import many_visuals
from llava_interleave_serve.server.errors import RequestError
from tests.support import app_server
from tests.support.fakes.engine import ANSWER, FakeEngine


class Engine(FakeEngine):
    """Answers with so many tokens, which are the same whatever was asked with it."""

    def __init__(self, tokens: int = many_visuals.TOKENS) -> None:
        super().__init__()
        self.tokens = tokens

    async def chat(self, token_ids: Any, visuals: Any, *arguments: Any, **named: Any) -> Any:
        await super().chat(token_ids, visuals, *arguments, **named)
        answer = copy.deepcopy(ANSWER)
        answer["choices"][0]["token_ids"] = [int(visuals[0].views[0, 0, 0, 0])] * self.tokens
        return answer


def ask(engine: FakeEngine, visuals: int = 64) -> dict[str, Any]:
    with app_server.in_thread(engine) as server:
        return asyncio.run(many_visuals.compare(server.url, 2, visuals))


def test_two_requests_of_as_many_visuals_as_the_server_takes_are_sent_at_once_and_alone() -> None:
    engine = Engine()
    report = ask(engine, visuals=256)
    assert report == {"requests": 2, "visuals": 256, "faults": [], "same_alone": 2}
    assert len(engine.asked) == 4
    for token_ids, visuals, sampling in engine.asked:
        assert len(visuals) == 256
        assert {str(each.pooling) for each in visuals} == {str(engine.asked[0][1][0].pooling)}
        assert (visuals[0].pooling.mode, visuals[0].pooling.stride) == ("average", 4)
        assert sampling["ignore_eos"]
        assert len(token_ids) > 256
    first, second = engine.asked[0][1], engine.asked[1][1]
    assert not any((one.views == other.views).all() for one, other in zip(first, second, strict=True))


@pytest.mark.parametrize(
    ("engine", "fault"),
    [
        (Engine(tokens=3), "3 of 8 tokens"),
        (FakeEngine(fails=RequestError("no")), "400: "),
        (FakeEngine(fails=RuntimeError("out of memory")), "500: "),
    ],
)
def test_an_answer_that_is_refused_or_not_whole_is_a_fault(engine: FakeEngine, fault: str) -> None:
    report = ask(engine)
    assert len(report["faults"]) == 4
    assert all(each.startswith(fault) for each in report["faults"])


def test_a_server_whose_engine_has_ended_is_a_fault() -> None:
    engine = Engine()
    engine.alive = False
    assert ask(engine)["faults"][-1] == "the server is not ready"
