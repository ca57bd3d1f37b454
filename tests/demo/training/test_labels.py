"""Labels of the auxiliary heads agree with the scenes and answers."""

import random

import numpy as np
import torch

from llava_interleave_serve.demo.scenes import comparisons, signs, stories
from llava_interleave_serve.demo.scenes.composing import WIDE
from llava_interleave_serve.demo.scenes.drawing import FORMS, Kind
from llava_interleave_serve.demo.training import batches, labels
from llava_interleave_serve.demo.training.trainee import pooled


def test_every_label_is_a_class_of_its_head() -> None:
    sizes = [*labels.ROW_LABELS.values(), *labels.PAIR_LABELS.values()]
    for kind in batches.KINDS:
        rng = random.Random(kind)
        conversation = batches.draw_conversation(rng, kind, batches.KINDS[kind].visuals[-1], 2)
        of_rows = labels.row_labels([conversation], labels.patch_labels(conversation.scenes))
        assert of_rows.shape[-1] == len(sizes)
        for column, size in enumerate(sizes):
            named = of_rows[..., column]
            assert ((named >= 0) & (named < size) | (named == labels.UNKNOWN)).all(), (kind, column)


def test_the_qualities_of_wide_scenes_and_the_places_of_pooled_patches_are_unknown() -> None:
    scene = WIDE.compose(random.Random(1), [Kind("red", "circle")])
    (patches,) = labels.patch_labels([scene])
    assert (patches[:, -2:] == labels.UNKNOWN).all()
    assert patches[:, 3:5].max() == 12
    (patches,) = labels.patch_labels([scene], 7)
    assert patches.shape == (49, 7)
    assert (patches[:, 3:5] == labels.UNKNOWN).all()
    assert patches[:, 2].sum() == 1


def test_a_things_centre_lies_in_a_pooled_patch_that_has_something_of_it() -> None:
    shares = pooled(torch.eye(169)[None], 7)[0].numpy()  # of each patch in each pooled one
    for seed in range(150):
        scene = WIDE.compose(random.Random(seed), [Kind("red", "circle")])
        centre = scene.patch_labels(13)[:, 2].argmax()
        row = scene.patch_labels(7)[:, 2].argmax()
        assert shares[row, centre] == shares[:, centre].max() > 0


def test_patch_labels_have_letters_and_the_darkness_and_noise_of_the_picture() -> None:
    rng = random.Random(1)
    sign = signs.sign(rng, "LTX")
    (patches,) = labels.patch_labels([comparisons.darken(rng, sign)])
    assert {FORMS[shape - 1] for shape in patches[:, 0] if shape} == set("LTX")
    assert (patches[:, -2:] == (1, 0)).all()
    (patches,) = labels.patch_labels([comparisons.add_noise(rng, sign)])
    assert (patches[:, -2:] == (0, 1)).all()


def test_the_label_of_the_next_image_is_the_answer_to_a_puzzle() -> None:
    for seed in range(30):
        conversation = stories.puzzle(random.Random(seed), 3 + seed % 3)
        followed = labels.row_labels([conversation], labels.patch_labels(conversation.scenes))[..., -1]
        last = followed[-1][followed[-1] > 0]
        colour, form = conversation.turns[0].answer.rstrip(".").split()[1:]
        (answer,) = {int(kind) for kind in last}
        scene = next(scene for scene in conversation.scenes if str(scene.kinds[0]) == f"{colour} {form}")
        rank = scene.kinds[0].rank
        assert answer == rank[0] * len(FORMS) + rank[1] + 1


def test_the_label_of_the_next_image_is_unknown_if_images_show_several_things() -> None:
    kinds = np.array([[[1, 2, 0], [1, 0, 0]], [[1, 1, 0], [2, 0, 0]]])
    assert labels.next_kinds(kinds).tolist() == [[[labels.UNKNOWN] * 3] * 2, [[0, 0, 0], [0, 0, 0]]]
