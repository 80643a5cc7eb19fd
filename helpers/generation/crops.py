"""The appearance of boxes: the photo's content in each of them, read when it is due."""

from collections.abc import Iterator, Sequence

from PIL import Image

from helpers.scenes import images
from helpers.scenes.scenes import Scene


class Crops(Sequence):
    """The content of each box of a scene, cut from the photo at its full resolution whenever it is read, so
    that memory does not grow with the number of photos.

    boxes: (n, 4), as `fitted` to the square. fit: of the protocol, "squash" or "crop".
    """

    def __init__(self, scene: Scene, boxes, fit: str) -> None:
        self.scene, self.boxes, self.fit = scene, boxes, fit

    def __len__(self) -> int:
        return len(self.boxes)

    def __getitem__(self, index: int) -> Image.Image:
        return images.crop(self.photo(), self.boxes[index])

    def __iter__(self) -> Iterator[Image.Image]:
        photo = self.photo() if len(self) else None
        return (images.crop(photo, box) for box in self.boxes)

    def photo(self) -> Image.Image:
        """What the boxes are fractions of."""
        photo = self.scene.photo()
        if self.fit != "crop":
            return photo
        return images.fit(photo, min(photo.size), "crop")
