"""Small evaluation datasets: the reference's JSON with its pictures, the hub's parquet, and videos."""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from PIL import Image
from pyarrow import parquet as pq

from llava_interleave_serve.demo.scenes.mp4 import write_mp4


def picture(number: int, kind: str = "PNG", size: tuple[int, int] = (40, 30)) -> bytes:
    """Returns an image file of one colour, another for each number."""
    buffer = io.BytesIO()
    Image.new("RGB", size, (number * 37 % 256, number * 91 % 256, number * 53 % 256)).save(buffer, kind)
    return buffer.getvalue()


def record(number: int, dataset: str, question_type: str, *turns: tuple[str, str], **fields: Any) -> dict[str, Any]:
    """Returns a record of the reference's JSON. `image` and `video` name its media files."""
    metadata = {"dataset": dataset, "split": "test", "question_type": question_type, **fields.pop("metadata", {})}
    sentences = [
        {"from": role, "value": text} for turn in turns for role, text in zip(("human", "gpt"), turn, strict=True)
    ]
    return {"sample_id": number, "conversations": sentences, "metadata": metadata, **fields}


def write_json(folder: Path, records: list[dict[str, Any]], name: str = "records.json") -> Path:
    """Writes the records, and for each image that they name a picture of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, image in enumerate(sorted({image for fields in records for image in fields.get("image", [])})):
        (folder / image).parent.mkdir(parents=True, exist_ok=True)
        (folder / image).write_bytes(picture(number))
    path = folder / name
    path.write_text(json.dumps(records))
    return path


def mixed(count: int) -> list[dict[str, Any]]:
    """Returns records of four datasets by turns, with 1 to 3 images; every fifth record has two turns."""
    kinds = [("RAVEN", "multi-choice"), ("QBench", "multi-choice"), ("VIST", "open-ended"), ("AESOP", "open-ended")]
    records = []
    for number in range(count):
        dataset, question_type = kinds[number % len(kinds)]
        images = [f"pictures/{number % 7}-{index}.png" for index in range(1 + number % 3)]
        turns = [("<image>" * len(images) + f"\nQuestion {number}?", "abcd"[number % 4])]
        if number % 5 == 0:
            turns.append((f"And {number} again?", "b"))
        records.append(record(number, dataset, question_type, *turns, image=images))
    return records


def write_parquet(path: Path, rows: list[dict[str, Any]], row_group_size: int = 2) -> Path:
    """Writes the hub's columns; a row's `images` become image_0, image_1, …."""
    columns: dict[str, list[Any]] = {
        name: [row.get(name) for row in rows]
        for name in ("sample_id", "sub_task", "question_type", "question", "answer", "conversations")
    }
    for index in range(16):
        cells = [row["images"][index] if index < len(row["images"]) else None for row in rows]
        columns[f"image_{index}"] = [
            None if cell is None else {"bytes": cell, "path": f"{index}.png"} for cell in cells
        ]
    picture_type = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    types = {name: pa.string() for name in columns} | {f"image_{index}": picture_type for index in range(16)}
    types["conversations"] = pa.list_(pa.struct([("from", pa.string()), ("value", pa.string())]))
    table = pa.table({name: pa.array(values, types[name]) for name, values in columns.items()})
    pq.write_table(table, path, row_group_size=row_group_size)
    return path


def video(path: Path, frames: int = 12) -> Path:
    """Writes a small MP4 of frames of changing brightness."""
    path.write_bytes(write_mp4((np.full((48, 64, 3), index * 20 % 256, np.uint8) for index in range(frames)), fps=8))
    return path
