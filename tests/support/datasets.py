"""Small benches in the reference's formats: a JSON with its pictures, the hub's parquet, and one of videos."""

import io
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
from PIL import Image
from pyarrow import parquet as pq


def picture(number: int, kind: str = "PNG", size: tuple[int, int] = (40, 30)) -> bytes:
    """A picture's file; another for each number."""
    buffer = io.BytesIO()
    Image.new("RGB", size, (number * 37 % 256, number * 91 % 256, number * 53 % 256)).save(buffer, kind)
    return buffer.getvalue()


def record(number: int, data_set: str, question_type: str, *turns: tuple[str, str], **fields: Any) -> dict[str, Any]:
    """A record in the reference's JSON; its images by name in `image`, videos in `video`."""
    metadata = {"dataset": data_set, "split": "test", "question_type": question_type, **fields.pop("metadata", {})}
    sentences = [
        {"from": role, "value": text} for turn in turns for role, text in zip(("human", "gpt"), turn, strict=True)
    ]
    return {"sample_id": number, "conversations": sentences, "metadata": metadata, **fields}


def write_json(folder: Path, records: list[dict[str, Any]], name: str = "bench.json") -> Path:
    """Writes the bench, and a picture of its own for each name in it."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, image in enumerate(sorted({image for one in records for image in one.get("image", [])})):
        (folder / image).parent.mkdir(parents=True, exist_ok=True)
        (folder / image).write_bytes(picture(number))
    path = folder / name
    path.write_text(json.dumps(records))
    return path


def mixed(count: int) -> list[dict[str, Any]]:
    """Records of five data sets, by turns, with 1 to 3 images: choices and open questions, some of several turns."""
    kinds = [("RAVEN", "multi-choice"), ("QBench", "multi-choice"), ("VIST", "open-ended"), ("AESOP", "open-ended")]
    records = []
    for number in range(count):
        data_set, question_type = kinds[number % len(kinds)]
        images = [f"pictures/{number % 7}-{at}.png" for at in range(1 + number % 3)]
        turns = [("<image>" * len(images) + f"\nQuestion {number}?", "abcd"[number % 4])]
        if number % 5 == 0:
            turns.append((f"And {number} again?", "b"))
        records.append(record(number, data_set, question_type, *turns, image=images))
    return records


def write_parquet(path: Path, rows: list[dict[str, Any]], row_group_size: int = 2) -> Path:
    """Writes the hub's columns; a row's `images` become image_0, image_1, …."""
    columns: dict[str, list[Any]] = {
        name: [row.get(name) for row in rows]
        for name in ("sample_id", "sub_task", "question_type", "question", "answer", "conversations")
    }
    for at in range(16):
        cells = [row["images"][at] if at < len(row["images"]) else None for row in rows]
        columns[f"image_{at}"] = [None if cell is None else {"bytes": cell, "path": f"{at}.png"} for cell in cells]
    picture_type = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    types = {name: pa.string() for name in columns} | {f"image_{at}": picture_type for at in range(16)}
    types["conversations"] = pa.list_(pa.struct([("from", pa.string()), ("value", pa.string())]))
    table = pa.table({name: pa.array(values, types[name]) for name, values in columns.items()})
    pq.write_table(table, path, row_group_size=row_group_size)
    return path


def video(path: Path, frames: int = 12) -> Path:
    """A small MP4 of frames of changing brightness."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 8, (64, 48))
    for at in range(frames):
        writer.write(np.full((48, 64, 3), at * 20 % 256, np.uint8))
    writer.release()
    return path
