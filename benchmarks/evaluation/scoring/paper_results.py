"""The paper's tables: the datasets of each row, and the scores of the paper's models.

Numbers are in percent, but for language models' judgements. The datasets of a row are the reference's (LLaVA-NeXT,
llava/eval/evaluate_interleave.py). 7B DPO is from the authors' table for video, and from the appendix's Table 2 for the
rest, where the 7B before DPO differs a little from the 7B here. Averages are as printed: three of them (GPT-4V and 0.5B
in-domain, 0.5B out-of-domain) are not the means of the rows printed with them.
"""

from dataclasses import dataclass
from typing import NamedTuple

MODELS = ("GPT-4V", "0.5B", "7B", "14B", "7B DPO")

Numbers = tuple[str, ...]  # as the paper prints them, one for each of MODELS; "" where it has none
NO_NUMBERS: Numbers = ("",) * len(MODELS)


@dataclass(frozen=True, slots=True)
class PaperRow:
    """A row of the paper's tables.

    Attributes:
        title: Its name.
        datasets: The names of the datasets that it averages, in every spelling that files use.
        numbers: The scores of the paper's models.
        judged: True if the numbers are a language model's judgement, which is not computed here.

    """

    title: str
    datasets: tuple[str, ...]
    numbers: Numbers = NO_NUMBERS
    judged: bool = False


@dataclass(frozen=True, slots=True)
class PaperSplit:
    """One of the paper's tables: its title, its rows, and the averages printed with them."""

    title: str
    rows: tuple[PaperRow, ...]
    average: Numbers = NO_NUMBERS


class PoolingRow(NamedTuple):
    """A row of the appendix's Table 1, as printed.

    Attributes:
        training: The pooling of video frames in training.
        inference: The pooling of video frames in inference.
        frames: Frames a video.
        image_tokens: Their tokens, as a multiple of an unpooled image's 729.
        activitynet: Accuracy and judged score on ActivityNet-QA.
        average: The column "Avg" of the table.

    """

    training: str
    inference: str
    frames: str
    image_tokens: str
    activitynet: str
    average: str


SPLITS = (
    PaperSplit(
        "In-domain",
        (
            PaperRow(
                "Spot the Difference",
                ("Spot-the-Diff", "Birds-to-Words", "CLEVR-Change"),
                ("12.5", "34.3", "37.1", "40.5", ""),
            ),
            PaperRow(
                "Image Edit Instruction", ("IEdit", "HQ-Edit", "MagicBrush"), ("11.0", "21.6", "24.3", "24.5", "")
            ),
            PaperRow(
                "Visual Story Telling",
                ("AESOP", "FlintstonesSV", "PororoSV", "VIST"),
                ("10.9", "29.7", "33.1", "33.3", ""),
            ),
            # Scored by the reference, but in no table of the paper.
            PaperRow("Visual Cloze", ("COMICS_Dialogue", "RecipeQA_VisualCloze")),
            PaperRow("Text-rich VQA", ("WebQA", "TQA", "OCR-VQA", "DocVQA"), ("54.5", "63.9", "76.1", "78.6", "")),
            PaperRow(
                "Multi-image VQA",
                ("MIT-States_StateCoherence", "MIT-States_PropertyCoherence", "VISION", "RecipeQA_ImageCoherence"),
                ("52.0", "54.8", "87.5", "95.0", ""),
            ),
            PaperRow("Puzzle", ("RAVEN",), ("17.1", "35.4", "48.7", "59.9", "")),
            PaperRow("Q-Bench", ("QBench",), ("76.5", "52.0", "74.2", "76.7", "86.8")),
            PaperRow("NLVR2", ("NLVR2_Mantis", "nlrv2"), ("88.8", "67.8", "88.8", "91.1", "87.7")),
        ),
        ("39.2", "43.9", "58.6", "62.3", ""),
    ),
    PaperSplit(
        "Out-of-domain",
        (
            PaperRow("MathVerse-mv", ("MathVerse",), ("60.3", "13.3", "32.8", "33.4", "")),
            PaperRow("SciVerse-mv", ("SciVerse",), ("66.9", "12.2", "31.6", "32.7", "")),
            PaperRow("Mantis-Eval", ("Mantis",), ("62.7", "45.6", "62.7", "66.4", "60.8")),
            PaperRow("BLINK", ("BLINK",), ("51.1", "39.2", "52.6", "52.1", "51.7")),
            PaperRow("MMMU-mv (test)", ("MMMU", "MMMU_mv", "MMMU-mv"), ("47.9", "28.6", "34.5", "37.1", "")),
        ),
        ("57.78", "33.1", "42.8", "44.3", ""),
    ),
    PaperSplit(
        "Multi-view (3D)",
        (
            PaperRow("3D Dialogue", ("ScanNet_chat",), ("", "67.2", "69.3", "70.6", "")),
            PaperRow("Task Decomposition", ("ScanNet_task",), ("", "48.5", "51.4", "52.2", "")),
            PaperRow("ScanQA", ("ScanQA",), ("", "29.3", "32.2", "34.5", "25.5")),
            PaperRow("ALFRED", ("ALFRED",), ("", "57.0", "61.6", "62.0", "")),
            PaperRow("nuScenes", ("nuscenes",), ("", "62.8", "76.5", "76.7", "")),
        ),
        ("", "53.0", "58.2", "59.2", ""),
    ),
    PaperSplit(
        "Video",
        (
            PaperRow("NExT-QA", ("NextQA", "NExTQA", "NExT-QA", "nextqa"), ("", "59.5", "78.2", "79.1", "77.9")),
            PaperRow("MVBench", ("MVBench", "mvbench"), ("", "45.6", "53.1", "54.9", "52.3")),
            PaperRow(
                "ActivityNet-QA",
                ("ActivityNet-QA", "ActivityNetQA"),
                ("", "48.0/2.84", "55.3/3.13", "56.2/3.19", "55.0/3.13"),
                judged=True,
            ),
            PaperRow(
                "Video Detailed Description", ("VideoDetailDesc",), ("", "3.25", "3.57", "3.59", "3.90"), judged=True
            ),
            PaperRow("VideoChatGPT", ("VideoChatGPT",), ("", "3.07", "3.43", "3.48", "3.83"), judged=True),
        ),
    ),
    PaperSplit(
        "Single image",
        (
            PaperRow("AI2D", ("ai2d",), ("", "52.20", "73.90", "76.52", "72.2")),
            PaperRow("ChartQA", ("chartqa",), ("", "52.20", "67.16", "71.24", "56.1")),
            PaperRow("DocVQA", ("docvqa",), ("", "59.20", "75.70", "78.91", "73.1")),
            PaperRow("MME*", ("mme",), ("", "52.00", "63.53", "66.21", "62.6")),
            PaperRow("ScienceQA", ("sqa",), ("", "60.60", "72.63", "77.44", "71.7")),
            PaperRow("POPE", ("pope",), ("", "86.78", "86.75", "87.90", "86.6")),
        ),
        ("", "60.5", "73.3", "76.40", ""),
    ),
)

# The appendix's Table 1, for the ablation.
POOLING_TABLE = (
    PoolingRow("pooled to 1/4", "pooled to 1/4", "40", "10x729", "52.8/3.53", "3.35"),
    PoolingRow("pooled to 1/4", "pooled to 1/4", "64", "16x729", "52.7/3.53", "3.33"),
    PoolingRow("unpooled", "unpooled", "10", "10x729", "52.9/3.48", "3.38"),
    PoolingRow("unpooled", "unpooled", "16", "16x729", "54.4/3.51", "3.41"),
)
