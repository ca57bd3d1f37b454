"""Guards against GIF files of countless blocks, which Pillow reads one by one in Python."""

from llava_interleave_serve.server.errors import LimitExceeded

MAX_BLOCKS = 16_384  # before the first picture: 4 MiB of metadata in blocks of full length
HEADER_BYTES = 13
EXTENSION, IMAGE, END, COMMENT, APPLICATION = 0x21, 0x2C, 0x3B, 0xFE, 0xFF
LOOPING = b"NETSCAPE2.0"  # the first block of the extension that says how often an animation is shown


def check_blocks(data: bytes) -> None:
    """Raises LimitExceeded for a GIF of more than MAX_BLOCKS before its first picture; hops over them as Pillow does.

    A byte that belongs to no block counts as one: Pillow skips them one by one.
    """
    if not data.startswith((b"GIF87a", b"GIF89a")) or len(data) < HEADER_BYTES:
        return
    position = HEADER_BYTES + (3 << (data[10] & 7) + 1 if data[10] & 128 else 0)
    label, blocks_read, is_looping = None, 0, False
    for _ in range(MAX_BLOCKS):
        if position + 1 >= len(data):
            return
        first = data[position]
        if label is not None:
            # Pillow expects another block behind an empty first one, and behind the first one of LOOPING.
            goes_on = (blocks_read == 0 and label != COMMENT) or (blocks_read == 1 and is_looping)
            if first == 0 and not goes_on:
                label = None
            elif blocks_read == 0:
                is_looping = first >= len(LOOPING) and label == APPLICATION and data.startswith(LOOPING, position + 1)
            blocks_read += 1
            position += 1 + first
        elif first == EXTENSION:
            label, blocks_read, is_looping = data[position + 1], 0, False
            position += 2
        elif first in (IMAGE, END):
            return
        else:
            position += 1
    raise LimitExceeded(f"the image has more than {MAX_BLOCKS} blocks before its first picture", param="url")
