"""Words and numbers for pictures of pages and charts."""

import random
import re

WORDS = re.findall(
    r"\w+",
    """the a of and in to it was for on with as at by from or but not all when after over under between before letter
    morning river stone paper window answer question garden winter summer bread water night table street number people
    house train story voice field season evening market engine bridge island valley corner harbour library walks runs
    reads writes opens closes carries finds keeps brings holds leaves turns grows falls waits rises""",
)


def line(rng: random.Random, letters: int) -> str:
    """Draws a line of words of about so many letters."""
    words: list[str] = [rng.choice(WORDS).capitalize()]
    while sum(map(len, words)) + len(words) < letters:
        words.append(rng.choice(WORDS))
    return f"{' '.join(words)}."


def walk(rng: random.Random, number: int) -> list[float]:
    """Draws a random walk of so many steps."""
    values = [0.0]
    for _ in range(number):
        values.append(values[-1] + rng.gauss(0, 1))
    return values
