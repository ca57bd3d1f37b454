"""What the throw-away heads are taught is so."""

import random

import numpy as np

from llava_interleave_serve.demo.scenes import comparisons, signs, stories
from llava_interleave_serve.demo.scenes.drawing import FORMS
from llava_interleave_serve.demo.training import batches, labels


def test_every_label_is_one_that_its_head_can_name() -> None:
    sizes = [*labels.ROW_LABELS.values(), *labels.PAIR_LABELS.values()]
    for kind in batches.KINDS:
        rng = random.Random(kind)
        talk = batches.conversation(rng, kind, batches.KINDS[kind].visuals[-1], 2)
        of_rows = labels.of_rows([talk], labels.of_patches(talk.scenes))
        assert of_rows.shape[-1] == len(sizes)
        for at, size in enumerate(sizes):
            named = of_rows[..., at]
            assert ((named >= 0) & (named < size) | (named == labels.UNKNOWN)).all(), (kind, at)


def test_patches_know_letters_and_how_dark_and_noisy_their_picture_is() -> None:
    rng = random.Random(1)
    sign = signs.sign(rng, "LTX")
    (patches,) = labels.of_patches([comparisons.darkened(rng, sign)])
    assert {FORMS[one - 1] for one in patches[:, 0] if one} == set("LTX")
    assert (patches[:, -2:] == (1, 0)).all()
    (patches,) = labels.of_patches([comparisons.roughened(rng, sign)])
    assert (patches[:, -2:] == (0, 1)).all()


def test_what_followed_is_what_a_puzzle_asks_for() -> None:
    for seed in range(30):
        talk = stories.puzzle(random.Random(seed), 3 + seed % 3)
        followed = labels.of_rows([talk], labels.of_patches(talk.scenes))[..., -1]
        last = followed[-1][followed[-1] > 0]
        colour, form = talk.turns[0].answer.rstrip(".").split()[1:]
        (answer,) = {int(one) for one in last}
        drawn = next(scene for scene in talk.scenes if str(scene.kinds[0]) == f"{colour} {form}")
        rank = drawn.kinds[0].rank
        assert answer == rank[0] * len(FORMS) + rank[1] + 1


def test_what_followed_is_not_asked_where_images_show_several_things() -> None:
    kinds = np.array([[[1, 2, 0], [1, 0, 0]], [[1, 1, 0], [2, 0, 0]]])
    assert labels.followed(kinds).tolist() == [[[labels.UNKNOWN] * 3] * 2, [[0, 0, 0], [0, 0, 0]]]
