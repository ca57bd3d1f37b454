"""Data URLs are decoded as browsers do, or refused with the reason."""

import base64
import contextlib
import string
import time
import tracemalloc
import urllib.parse
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llava_interleave_serve.server.errors import FetchError, LimitExceeded
from llava_interleave_serve.server.media import data_url
from llava_interleave_serve.server.media.data_url import decode_data_url, is_data_url

CONTENT = bytes(range(256)) + b"ab"
BASE64 = base64.b64encode(CONTENT).decode()
ALPHABET = string.ascii_uppercase + string.ascii_lowercase + string.digits + "+/"


def percent_encoded(content: bytes) -> str:
    return "".join(f"%{byte:02x}" for byte in content)


@pytest.mark.parametrize(
    "url",
    [
        f"data:image/png;base64,{BASE64}",
        f"DATA:IMAGE/PNG;BASE64,{BASE64}",
        f"data:;base64,{BASE64}",
        f"data:image/png;charset=utf-8;name=a.png; base64,{BASE64}",
        f"data:image/png ;base64 ,{BASE64}",
        f"data:application/octet-stream;base64,{BASE64}",
        f"data:binary/octet-stream;base64,{BASE64}",
        f"data:image/*;base64,{BASE64}",
        f"data:image/png;base64,{BASE64}\n",
        f"  data:image/png;base64,{BASE64} \r\n\0",
        f"\ndata:image/png;base64,\n{base64.encodebytes(CONTENT).decode()}",
        f"data:image/png;base64,{BASE64[:10]} \t\f\r\n{BASE64[10:]}",
        f"data:image/png;base64,{BASE64.rstrip('=')}",
        f"data:image/png;base64,{BASE64.rstrip('=')}\n",
        f"data:image/png;base64,{urllib.parse.quote(BASE64, safe='')}",
        f"data:image/png;base64,{urllib.parse.quote(base64.encodebytes(CONTENT), safe='')}",
        f"data:image/png;base64,{percent_encoded(BASE64.encode())}",
        f"data:image/png;base64,{BASE64}#fragment",
        f"data:image/png,{percent_encoded(CONTENT)}",
        f"data:image/png,{percent_encoded(CONTENT).upper().replace('%0A', '%0A' + chr(10))}#x",
        f"data:,{urllib.parse.quote_from_bytes(CONTENT)}",
    ],
)  # fmt: skip
def test_a_data_url_is_decoded_as_browsers_do(url: str) -> None:
    assert is_data_url(url)
    assert decode_data_url(url.encode(), "image", 10_000) == CONTENT


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("data:image/png;base64,***", "not valid base64"),
        ("data:image/png;base64,YWJjZ", "not valid base64"),
        ("data:image/png;base64,YWJj=", "not valid base64"),
        ("data:image/png;base64,YW=", "not valid base64"),
        ("data:image/png;base64,YQ===", "not valid base64"),
        ("data:image/png;base64,YQ==YQ==", "not valid base64"),
        ("data:image/png;base64,_-_-", "not valid base64"),
        ("data:image/png;base64,%5F%2D", "not valid base64"),
        ("data:image/png;base64,YWJ%", "not valid base64"),
        ("data:image/png;base64", "must read data:image"),
        (f"data:image/png;name={'a' * 2000};base64,YWJj", "must read data:image"),
        ("data:text/html;base64,YWJj", "must be of a type image/"),
        ("data:application/octet-streams;base64,YWJj", "must be of a type image/"),
        ("data:video/mp4;base64,YWJj", "must be of a type image/"),
        ("data:image/png;base64,YWJj\u20ac", "only ASCII"),
        ("data:image/png;name=\U0001f600;base64,YWJj", "only ASCII"),
    ],
)
def test_a_bad_data_url_is_refused(url: str, message: str) -> None:
    with pytest.raises(FetchError, match=message) as refusal:
        decode_data_url(url.encode(), "image", 100)
    assert refusal.value.param == "url"


@pytest.mark.parametrize("payload", ["YWJj,YWJj", "YWJj"])
def test_a_list_of_frames_is_refused_with_the_name_of_the_part_for_it(payload: str) -> None:
    with pytest.raises(FetchError, match="video_frames"):
        decode_data_url(f"data:video/jpeg;base64,{payload}".encode(), "video", 100)


@pytest.mark.parametrize("url", [f"data:image/png;base64,{'*' * 8000}", f"data:image/png,{'*' * 8000}"])
def test_a_data_url_too_large_is_refused(url: str) -> None:
    with pytest.raises(LimitExceeded, match="larger than 5000"):
        decode_data_url(url.encode(), "image", 5000)


@pytest.mark.parametrize(
    "encode",
    [
        lambda content: f";base64,{base64.b64encode(content).decode()}",
        lambda content: f";base64,{base64.encodebytes(content).decode()}",
        lambda content: f";base64,{base64.b64encode(content).decode().rstrip('=')}",
        lambda content: f";base64,{percent_encoded(base64.b64encode(content))}",
        lambda content: f",{percent_encoded(content)}",
    ],
    ids=["plain", "lines", "without padding", "percent-encoded", "not base64"],
)
@pytest.mark.parametrize("size", [100, 101, 102])
def test_the_limit_is_of_the_decoded_bytes(encode: Callable[[bytes], str], size: int) -> None:
    url = f"data:image/png{encode(bytes(size))}"
    assert decode_data_url(url.encode(), "image", size) == bytes(size)
    with pytest.raises(LimitExceeded):
        decode_data_url(url.encode(), "image", size - 1)


def test_the_scheme_is_recognised_in_any_case() -> None:
    assert is_data_url("DATA:,")
    assert not is_data_url("http://data:80/")


def decoded_by_the_standard(text: str) -> bytes | None:
    """The Infra standard's forgiving-base64 decode, bit by bit; None for its failure."""
    text = "".join(character for character in text if character not in "\t\n\f\r ")
    if len(text) % 4 == 0:
        text = text.removesuffix("=").removesuffix("=")
    if len(text) % 4 == 1 or any(character not in ALPHABET for character in text):
        return None
    bits = "".join(format(ALPHABET.index(character), "06b") for character in text)
    return bytes(int(bits[start : start + 8], 2) for start in range(0, len(bits) - 7, 8))


@given(st.text(alphabet="AZaz09+/==  \n\t_-*", max_size=14))
def test_base64_is_read_as_the_standard_says(text: str) -> None:
    expected = decoded_by_the_standard(text)
    try:
        assert decode_data_url(f"data:;base64,{text}".encode(), "image", 100) == expected
    except FetchError:
        assert expected is None


@given(st.text(alphabet="%%%049afAFgG x", max_size=20), st.integers(3, 7))
def test_percent_encoded_bytes_are_read_as_the_standard_says(text: str, piece: int) -> None:
    before, data_url._PIECE = data_url._PIECE, piece
    try:
        assert decode_data_url(f"data:,{text}".encode(), "image", 100) == urllib.parse.unquote_to_bytes(text.rstrip())
    finally:
        data_url._PIECE = before


SLOW_URLS = {
    "percent signs": lambda size: "," + "%" * size,
    "percent-encoded": lambda size: "," + "%41" * (size // 3),
    "percent-encoded base64": lambda size: ";base64," + "%41" * (size // 3),
    "white space": lambda size: ";base64," + " \n" * (size // 2),
    "line breaks": lambda size: ";base64," + ("A" * 76 + "\n") * (size // 77),
    "semicolons": lambda size: ";" * size,
    "commas": lambda size: ";base64" + "," * size,
    "padding": lambda size: ";base64," + "=" * size,
    "fragments": lambda size: "," + "#" * size,
}


@pytest.mark.parametrize("name", SLOW_URLS)
def test_no_data_url_takes_more_than_some_copies_of_itself(name: str) -> None:
    size = 24 << 20
    url = f"data:image/png{SLOW_URLS[name](size)}"
    tracemalloc.start()
    started = time.perf_counter()
    with contextlib.suppress(FetchError, LimitExceeded):
        decode_data_url(url.encode(), "image", 64 << 20)
    seconds, (_, peak) = time.perf_counter() - started, tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert seconds < 2
    assert peak < 5 * size


def test_characters_that_are_not_ascii_are_refused_before_anything_is_copied() -> None:
    url = ("data:image/png;base64," + "A" * (4 << 20) + "\U0001f600").encode()
    tracemalloc.start()
    with pytest.raises(FetchError, match="only ASCII"):
        decode_data_url(url, "image", 64 << 20)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 100_000
