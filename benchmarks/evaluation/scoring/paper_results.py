"""The paper's tables: which data sets make a row, and what its models scored.

In percent, but for judgements. Which data sets make a row is the reference's (LLaVA-NeXT,
llava/eval/evaluate_interleave.py). 7B DPO: video from the authors' table, the rest from the appendix's Table 2, where
the 7B before DPO differs a little from the 7B here. Averages are as printed: three of them (GPT-4V and 0.5B in-domain,
0.5B out-of-domain) are not the means of the rows printed with them.
"""

from dataclasses import dataclass

MODELS = ("GPT-4V", "0.5B", "7B", "14B", "7B DPO")

Numbers = tuple[str, ...]  # as the paper prints them, one a model; "" where it has none
NONE: Numbers = ("",) * len(MODELS)


@dataclass(frozen=True, slots=True)
class Row:
    """A row of the paper's table. judged: its numbers are a language model's judgement, which is not computed here."""

    title: str
    data_sets: tuple[str, ...]
    numbers: Numbers = NONE
    judged: bool = False


@dataclass(frozen=True, slots=True)
class Split:
    """A table of the paper, and its average."""

    title: str
    rows: tuple[Row, ...]
    average: Numbers = NONE


SPLITS = (
    Split(
        "In-domain",
        (
            Row(
                "Spot the Difference",
                ("Spot-the-Diff", "Birds-to-Words", "CLEVR-Change"),
                ("12.5", "34.3", "37.1", "40.5", ""),
            ),
            Row("Image Edit Instruction", ("IEdit", "HQ-Edit", "MagicBrush"), ("11.0", "21.6", "24.3", "24.5", "")),
            Row(
                "Visual Story Telling",
                ("AESOP", "FlintstonesSV", "PororoSV", "VIST"),
                ("10.9", "29.7", "33.1", "33.3", ""),
            ),
            # Scored by the reference, but in no table of the paper.
            Row("Visual Cloze", ("COMICS_Dialogue", "RecipeQA_VisualCloze")),
            Row("Text-rich VQA", ("WebQA", "TQA", "OCR-VQA", "DocVQA"), ("54.5", "63.9", "76.1", "78.6", "")),
            Row(
                "Multi-image VQA",
                ("MIT-States_StateCoherence", "MIT-States_PropertyCoherence", "VISION", "RecipeQA_ImageCoherence"),
                ("52.0", "54.8", "87.5", "95.0", ""),
            ),
            Row("Puzzle", ("RAVEN",), ("17.1", "35.4", "48.7", "59.9", "")),
            Row("Q-Bench", ("QBench",), ("76.5", "52.0", "74.2", "76.7", "86.8")),
            Row("NLVR2", ("NLVR2_Mantis", "nlrv2"), ("88.8", "67.8", "88.8", "91.1", "87.7")),
        ),
        ("39.2", "43.9", "58.6", "62.3", ""),
    ),
    Split(
        "Out-of-domain",
        (
            Row("MathVerse-mv", ("MathVerse",), ("60.3", "13.3", "32.8", "33.4", "")),
            Row("SciVerse-mv", ("SciVerse",), ("66.9", "12.2", "31.6", "32.7", "")),
            Row("Mantis-Eval", ("Mantis",), ("62.7", "45.6", "62.7", "66.4", "60.8")),
            Row("BLINK", ("BLINK",), ("51.1", "39.2", "52.6", "52.1", "51.7")),
            Row("MMMU-mv (test)", ("MMMU", "MMMU_mv", "MMMU-mv"), ("47.9", "28.6", "34.5", "37.1", "")),
        ),
        ("57.78", "33.1", "42.8", "44.3", ""),
    ),
    Split(
        "Multi-view (3D)",
        (
            Row("3D Dialogue", ("ScanNet_chat",), ("", "67.2", "69.3", "70.6", "")),
            Row("Task Decomposition", ("ScanNet_task",), ("", "48.5", "51.4", "52.2", "")),
            Row("ScanQA", ("ScanQA",), ("", "29.3", "32.2", "34.5", "25.5")),
            Row("ALFRED", ("ALFRED",), ("", "57.0", "61.6", "62.0", "")),
            Row("nuScenes", ("nuscenes",), ("", "62.8", "76.5", "76.7", "")),
        ),
        ("", "53.0", "58.2", "59.2", ""),
    ),
    Split(
        "Video",
        (
            Row("NExT-QA", ("NextQA", "NExTQA", "NExT-QA", "nextqa"), ("", "59.5", "78.2", "79.1", "77.9")),
            Row("MVBench", ("MVBench", "mvbench"), ("", "45.6", "53.1", "54.9", "52.3")),
            Row(
                "ActivityNet-QA",
                ("ActivityNet-QA", "ActivityNetQA"),
                ("", "48.0/2.84", "55.3/3.13", "56.2/3.19", "55.0/3.13"),
                judged=True,
            ),
            Row("Video Detailed Description", ("VideoDetailDesc",), ("", "3.25", "3.57", "3.59", "3.90"), judged=True),
            Row("VideoChatGPT", ("VideoChatGPT",), ("", "3.07", "3.43", "3.48", "3.83"), judged=True),
        ),
    ),
    Split(
        "Single image",
        (
            Row("AI2D", ("ai2d",), ("", "52.20", "73.90", "76.52", "72.2")),
            Row("ChartQA", ("chartqa",), ("", "52.20", "67.16", "71.24", "56.1")),
            Row("DocVQA", ("docvqa",), ("", "59.20", "75.70", "78.91", "73.1")),
            Row("MME*", ("mme",), ("", "52.00", "63.53", "66.21", "62.6")),
            Row("ScienceQA", ("sqa",), ("", "60.60", "72.63", "77.44", "71.7")),
            Row("POPE", ("pope",), ("", "86.78", "86.75", "87.90", "86.6")),
        ),
        ("", "60.5", "73.3", "76.40", ""),
    ),
)

# The appendix's Table 1, for the ablation: training, inference, frames, image tokens, Act (accuracy/score), average.
POOLING = (
    ("pooled to 1/4", "pooled to 1/4", "40", "10x729", "52.8/3.53", "3.35"),
    ("pooled to 1/4", "pooled to 1/4", "64", "16x729", "52.7/3.53", "3.33"),
    ("unpooled", "unpooled", "10", "10x729", "52.9/3.48", "3.38"),
    ("unpooled", "unpooled", "16", "16x729", "54.4/3.51", "3.41"),
)
