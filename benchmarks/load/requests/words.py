"""Text of a given length in words."""

import random

COMMON = """
the a this that image picture shows between before after under above near large small bright dark person street house
water light table green red blue left right corner middle first last next many several describe compare count explain
where which what how why object colour shape surface number change difference moves stands holds looks at of in on with
and but then while from into again carefully detail every other same second third whole window door road tree animal
vehicle sign letter line edge shadow ground sky wall hand face group pair
"""
WORDS = COMMON.split()


def some(rng: random.Random, number: int) -> str:
    """`number` words, the first with a capital, and a full stop."""
    return f"{' '.join(rng.choices(WORDS, k=number)).capitalize()}."
