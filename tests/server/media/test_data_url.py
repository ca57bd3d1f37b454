"""Data URLs are decoded, or refused with the reason."""

import base64

import pytest

from llava_interleave_serve.server.errors import FetchError, LimitExceeded
from llava_interleave_serve.server.media.data_url import decode_data_url, is_data_url


def test_a_data_url_is_decoded() -> None:
    assert decode_data_url(f"data:image/png;base64,{base64.b64encode(b'abc').decode()}", "image", 100) == b"abc"
    assert decode_data_url("data:;base64,YWJj", "video", 100) == b"abc"


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("data:image/png;base64,***", "not valid base64"),
        ("data:image/png;base64,YWJ", "not valid base64"),
        ("data:image/png,abc", "must read data:image"),
        ("data:image/png;base64", "must read data:image"),
        ("data:text/html;base64,YWJj", "must be of a type image/"),
        ("data:video/mp4;base64,YWJj", "must be of a type image/"),
    ],
)
def test_a_bad_data_url_is_refused(url: str, message: str) -> None:
    with pytest.raises(FetchError, match=message) as refusal:
        decode_data_url(url, "image", 100)
    assert refusal.value.param == "url"


def test_a_data_url_too_large_is_refused_before_it_is_decoded() -> None:
    with pytest.raises(LimitExceeded, match="larger than 5000"):
        decode_data_url("data:image/png;base64," + "*" * 8000, "image", 5000)


def test_the_scheme_is_recognised_in_any_case() -> None:
    assert is_data_url("DATA:,")
    assert not is_data_url("http://data:80/")
