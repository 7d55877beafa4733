"""Pictures in files: decoded with all that they carry, sharpened, encoded again.

`decode_picture` -> `sharpen_picture` -> `encode_picture`; the service and the command take the same
way. The student is passed in: nothing here loads torch.
"""

from service.pictures.decoding import decode_picture
from service.pictures.encoding import encode_picture
from service.pictures.formats import (
    FORMATS,
    SUFFIXES,
    ImageFormat,
    facts_of,
    format_of_name,
    media_type,
    sniff,
)
from service.pictures.picture import (
    MAX_UPSCALE,
    EncodedPicture,
    Metadata,
    Picture,
    PictureFrame,
    PictureLimits,
    PictureOptions,
    Resize,
)
from service.pictures.sharpening import (
    Sharpen,
    check_output_size,
    sharpen_encoded,
    sharpen_picture,
    sharpening,
)

__all__ = [
    "FORMATS",
    "MAX_UPSCALE",
    "SUFFIXES",
    "EncodedPicture",
    "ImageFormat",
    "Metadata",
    "Picture",
    "PictureFrame",
    "PictureLimits",
    "PictureOptions",
    "Resize",
    "Sharpen",
    "check_output_size",
    "decode_picture",
    "encode_picture",
    "facts_of",
    "format_of_name",
    "media_type",
    "sharpen_encoded",
    "sharpen_picture",
    "sharpening",
    "sniff",
]
