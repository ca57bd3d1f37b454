"""Whether an answer is right."""

import re


def is_right(answer: str, right: str, *, whole: bool) -> bool:
    """Whether the answer says what is right, punctuation and case aside; unless `whole`, it may say more."""
    said, wanted = (re.findall(r"\w+", text.lower()) for text in (answer, right))
    if whole:
        return said == wanted
    return any(said[at : at + len(wanted)] == wanted for at in range(len(said) - len(wanted) + 1))
