"""Names what a picture file is that cannot be decoded."""

from llava_interleave_serve.server.errors import MediaError

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "AVIF")  # by Pillow's names
SERVED = "JPEG, PNG, WebP, GIF, BMP or AVIF"
TEXT_BYTES = 1024  # of the beginning, in which a text format's first element is looked for
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
BRANDS = slice(8, 64)  # of an ISO base media file: the major brand, and some of those that it is compatible with

# The first bytes of formats that are served: a file that begins so, and that Pillow does not know, is damaged.
SERVED_SIGNATURES = (b"\xff\xd8\xff", b"\x89PNG", b"GIF8", b"BM")
# The first bytes of formats that are not. Camera raw files are TIFF files, but for those that are listed.
SIGNATURES = (
    (b"II*\0", "a TIFF image"),
    (b"MM\0*", "a TIFF image"),
    (b"II+\0", "a TIFF image"),
    (b"MM\0+", "a TIFF image"),
    (b"IIU\0", "a camera raw file"),
    (b"IIRO", "a camera raw file"),
    (b"IIRS", "a camera raw file"),
    (b"FUJIFILMCCD-RAW", "a camera raw file"),
    (b"II\xbc", "a JPEG XR image"),
    (b"\xff\x0a", "a JPEG XL image"),
    (b"\0\0\0\x0cJXL ", "a JPEG XL image"),
    (b"\0\0\0\x0cjP  ", "a JPEG 2000 image"),
    (b"\xff\x4f\xff\x51", "a JPEG 2000 image"),
    (b"8BPS", "a Photoshop document"),
    (b"%PDF", "a PDF document"),
    (b"%!PS", "a PostScript document"),
    (b"\xc5\xd0\xd3\xc6", "a PostScript document"),
    (b"\0\0\1\0", "an icon (ICO)"),
    (b"icns", "an icon (ICNS)"),
    (b"gimp xcf", "a GIMP image"),
    (b"v/1\1", "an OpenEXR image"),
    (b"#?RADIANCE", "a Radiance HDR image"),
    (b"DDS ", "a DDS texture"),
    (b"qoif", "a QOI image"),
    (b"AT&TFORM", "a DjVu document"),
    (b"\xd7\xcd\xc6\x9a", "a WMF image"),
    (b"\x8aMNG", "an MNG animation"),
    (b"\x1aE\xdf\xa3", "a video"),
    (b"PK\3\4", "a ZIP archive"),
    (b"\x1f\x8b", "a gzip archive"),
)
RIFF_TYPES = {b"AVI ": "a video", b"WAVE": "a sound"}
TEXTS = ((b"<svg", "an SVG image"), (b"<!doctype html", "an HTML page"), (b"<html", "an HTML page"))
AVIF_BRANDS = (b"avif", b"avis")
HEIF_BRANDS = (b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1")


def damaged() -> MediaError:
    return MediaError("the image is damaged or incomplete", param="url")


def unidentified(data: bytes) -> MediaError:
    """Returns the error of a file in none of FORMATS, which names the file's own format if that is well known."""
    name = _name(data)
    if name is None:
        return MediaError(f"this is not a {SERVED} image", param="url")
    return damaged() if not name else MediaError(f"this is {name}; send {SERVED}", param="url")


def _name(data: bytes) -> str | None:
    """Returns what the file is, nothing for a format that is served, and None if the format is not known."""
    if data.startswith(SERVED_SIGNATURES):
        return ""
    if data[4:8] == b"ftyp":
        return _brand_name(data)
    if data.startswith(b"RIFF"):
        return "" if data[8:12] == b"WEBP" else RIFF_TYPES.get(data[8:12])
    for signature, name in SIGNATURES:
        if data.startswith(signature):
            return name
    beginning = data[:TEXT_BYTES].lower().removeprefix(BYTE_ORDER_MARK).lstrip()
    if not beginning.startswith(b"<"):
        return None
    return next((name for tag, name in TEXTS if tag in beginning), None)


def is_avif(data: bytes) -> bool:
    """True for an ISO base media file that says that AVIF's decoders can read it."""
    return any(brand in data[BRANDS] for brand in AVIF_BRANDS)


def _brand_name(data: bytes) -> str:
    if is_avif(data):
        return ""
    major = data[8:12]
    if major in HEIF_BRANDS:
        return "a HEIC image"
    return "a camera raw file" if major == b"crx " else "a video"
