"""`make gallery`: degraded sample pictures, sharpened, beside the originals, for the README."""

from __future__ import annotations

from pathlib import Path

from service.model.sharpener import Sharpener
from trainer.cases import Case
from trainer.evaluation import CROP_PX, degraded_pair
from trainer.picture_grid import draw_grid
from trainer.pictures import centre_crop, load_picture
from trainer.quality import image_psnr_db, image_ssim

_ROOT = Path(__file__).parents[1]
_SHOWN = (
    ("man-in-profile.jpg", "bicubic x4"),
    ("woman-with-hat.jpg", "webcam"),
    ("neon-frames.jpg", "gaussian 2.0"),
    ("museum.jpg", "bicubic x2 aliased"),
    ("colosseum.jpg", "gaussian 1.5, name tag"),
)


def main() -> None:
    """Writes docs/gallery.jpg with the bundled default student."""
    sharpener = Sharpener.load()
    cases = []
    for name, protocol in _SHOWN:
        clean = centre_crop(load_picture(_ROOT / "tests" / "samples" / name), CROP_PX)
        degraded, clean = degraded_pair(protocol, name, clean)
        images = {"input": degraded, "student": sharpener.sharpen(degraded), "clean": clean}
        results = {method: images[method] for method in ("input", "student")}
        psnr_db = {method: image_psnr_db(image, clean) for method, image in results.items()}
        cases.append(
            Case(
                protocol=protocol,
                name=name,
                rank=protocol,
                change_db=psnr_db["student"] - psnr_db["input"],
                images=images,
                psnr_db=psnr_db,
                ssim={method: image_ssim(image, clean) for method, image in results.items()},
            )
        )
    draw_grid(cases).save(_ROOT / "docs" / "gallery.jpg", quality=88)


if __name__ == "__main__":
    main()
