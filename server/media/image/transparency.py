"""Shows what is transparent, in pictures and in frames of videos."""

from PIL import Image

WHITE = (255, 255, 255, 255)


def over_white(image: Image.Image) -> Image.Image:
    """Blends an image of the mode RGBA over white; the result has that mode too."""
    return Image.alpha_composite(Image.new("RGBA", image.size, WHITE), image)
