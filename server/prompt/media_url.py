"""The type of the URLs in a chat request."""

from typing import Annotated

from pydantic import AfterValidator, StringConstraints

MOST_IRI = 8192  # characters


def _check_width(url: str) -> str:
    # A long URL holds a picture, as base64. One wide character would have all of it take four bytes a character.
    if len(url) > MOST_IRI and not url.isascii():
        raise ValueError(f"a URL of more than {MOST_IRI} characters must be ASCII")
    return url


Url = Annotated[str, StringConstraints(min_length=1), AfterValidator(_check_width)]
