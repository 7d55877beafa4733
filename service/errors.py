"""Every failure that a user can cause or meet, as one tree.

ClearcallError
├── SettingsInvalid             a CLEARCALL_* variable or a flag is wrong
├── BackendUnavailable          the device or runtime that was asked for is not on this machine
├── CheckpointError             a checkpoint file cannot be served
│   ├── CheckpointNotFound      no such file, or not readable
│   ├── CheckpointCorrupt       truncated, or not a safetensors file at all
│   ├── CheckpointForeign       safetensors, but not written by Clearcall
│   ├── CheckpointVersionUnknown    written by another version of the format
│   ├── CheckpointFactsInvalid  its header lacks a fact or holds a wrong one
│   ├── CheckpointArchitectureUnknown   names a network that this build does not have
│   ├── CheckpointWeightsMismatch   tensors are missing, unexpected, of another shape or type
│   └── CheckpointNotFinite     a weight is NaN or infinite
├── ModelUnknown                no checkpoint of this id is in the watched folder
├── ModelRefused                a checkpoint that the roll-out's checks do not let through
├── RequestInvalid              a query parameter, form field or message that cannot be understood
├── OriginRefused               a page of another site tried to use the service
├── AccessRefused               whoever asks may not
│   ├── KeyMissing              an API key is needed, and none came
│   ├── KeyWrong                the key that came is not one of those in use
│   ├── TokenWrong              the stream's token is expired, forged or of a key that is gone
│   ├── AdminOff                admin calls are off, because no admin key is set
│   ├── AdminOnly               a key that is right, but no admin key
│   ├── WrongKeysBraked         too many wrong keys came from this address
│   ├── RateExceeded            more requests in a minute than one key may make
│   └── KeyStreamsFull          more streams are open than one key may have
├── ImageError                  bytes that should be a picture and cannot be served
│   ├── ImageUnsupported        not a picture, or of a format that is not accepted
│   ├── ImageBroken             a picture that is damaged
│   ├── ImageTooManyPixels      its header announces more pixels than are allowed
│   ├── UploadTooLarge          more bytes than are allowed
│   └── UploadTooSlow           the bytes did not all arrive in time
├── FrameInvalid                a binary WebSocket message that is not a frame
├── QueueFull                   more work is waiting than the bound allows
├── StreamsFull                 more streams are open than the bound allows
├── EngineBusy                  the open streams are as much load as is allowed
├── SharpeningFailed            the network itself failed on a picture
└── EngineStopped               the engine is not running (starting, stopping or stopped)

Each leaf carries the HTTP status, the WebSocket close code and a `code` for programs. `str(error)`
is safe to show: it says what was wrong and what to do, and never holds a path of the server for
errors that a remote caller can cause.
"""

from __future__ import annotations

from pathlib import Path

__all__ = [
    "AccessRefused",
    "AdminOff",
    "AdminOnly",
    "BackendUnavailable",
    "CheckpointArchitectureUnknown",
    "CheckpointCorrupt",
    "CheckpointError",
    "CheckpointFactsInvalid",
    "CheckpointForeign",
    "CheckpointNotFinite",
    "CheckpointNotFound",
    "CheckpointVersionUnknown",
    "CheckpointWeightsMismatch",
    "ClearcallError",
    "EngineBusy",
    "EngineStopped",
    "FrameInvalid",
    "ImageBroken",
    "ImageError",
    "ImageTooManyPixels",
    "ImageUnsupported",
    "KeyMissing",
    "KeyStreamsFull",
    "KeyWrong",
    "ModelRefused",
    "ModelUnknown",
    "OriginRefused",
    "QueueFull",
    "RateExceeded",
    "RequestInvalid",
    "SettingsInvalid",
    "SharpeningFailed",
    "StreamsFull",
    "TokenWrong",
    "UploadTooLarge",
    "UploadTooSlow",
    "WrongKeysBraked",
]


class ClearcallError(Exception):
    """Root of the tree; never raised itself."""

    code = "internal"
    title = "Internal error"
    http_status = 500
    close_code = 1011


class SettingsInvalid(ClearcallError):
    code = "settings-invalid"
    title = "A setting is wrong"


class BackendUnavailable(ClearcallError):
    code = "backend-unavailable"
    title = "The device or runtime is not available"


class CheckpointError(ClearcallError):
    """A checkpoint that cannot be served; `path` is the file."""

    code = "checkpoint-error"
    title = "The checkpoint cannot be used"

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path = path
        self.reason = reason


class CheckpointNotFound(CheckpointError):
    code = "checkpoint-not-found"


class CheckpointCorrupt(CheckpointError):
    code = "checkpoint-corrupt"


class CheckpointForeign(CheckpointError):
    code = "checkpoint-foreign"


class CheckpointVersionUnknown(CheckpointError):
    code = "checkpoint-version-unknown"


class CheckpointFactsInvalid(CheckpointError):
    code = "checkpoint-facts-invalid"


class CheckpointArchitectureUnknown(CheckpointError):
    code = "checkpoint-architecture-unknown"


class CheckpointWeightsMismatch(CheckpointError):
    code = "checkpoint-weights-mismatch"


class CheckpointNotFinite(CheckpointError):
    code = "checkpoint-not-finite"


class ModelUnknown(ClearcallError):
    """No checkpoint of this id can be chosen."""

    code = "model-unknown"
    title = "No such model"
    http_status = 404
    close_code = 1008

    def __init__(self, model_id: str) -> None:
        super().__init__(
            f"There is no model {model_id!r} here. GET /models (clearcall models list) names those "
            "that can be activated."
        )
        self.model_id = model_id


class ModelRefused(ClearcallError):
    """A checkpoint that cannot be loaded, or that the gate refuses; the reason is in the text."""

    code = "model-refused"
    title = "The model is not taken into service"
    http_status = 409
    close_code = 1008


class RequestInvalid(ClearcallError):
    code = "request-invalid"
    title = "The request cannot be understood"
    http_status = 422
    close_code = 1008


class OriginRefused(ClearcallError):
    """A browser page of another site; `origin` is what the browser says it is."""

    code = "origin-refused"
    title = "Pages of this site may not use the service"
    http_status = 403
    close_code = 1008

    def __init__(self, origin: str) -> None:
        super().__init__(
            "A page of another site may not use this service unless its origin is listed in "
            "CLEARCALL_ALLOWED_ORIGINS."
        )
        self.origin = origin


class AccessRefused(ClearcallError):
    """Whoever asks may not. Nothing of the key that came is in the message."""

    code = "access-refused"
    title = "Not allowed"
    http_status = 403
    close_code = 1008


class KeyMissing(AccessRefused):
    code = "key-missing"
    title = "An API key is needed"
    http_status = 401

    def __init__(self) -> None:
        super().__init__(
            "This service needs an API key. Send it as 'Authorization: Bearer KEY' or as "
            "'X-API-Key: KEY'; a browser's stream takes a token of POST /token instead."
        )


class KeyWrong(AccessRefused):
    code = "key-wrong"
    title = "The API key is wrong"
    http_status = 401

    def __init__(self) -> None:
        super().__init__(
            "The API key is not one of those in use. Ask the operator for a new one, or remove "
            "what your program sends as a key."
        )


class TokenWrong(AccessRefused):
    code = "token-wrong"
    title = "The token is not valid"
    http_status = 401

    def __init__(self) -> None:
        super().__init__(
            "The token is expired, or not of this service, or its key is no longer in use. Get a "
            "new one by POST /token right before each connection."
        )


class AdminOff(AccessRefused):
    code = "admin-off"
    title = "Admin calls are off"

    def __init__(self) -> None:
        super().__init__(
            "Admin calls are off, because no admin key is set. Make one with 'clearcall key "
            "--admin' and set CLEARCALL_ADMIN_KEYS to its hash."
        )


class AdminOnly(AccessRefused):
    code = "admin-only"
    title = "An admin key is needed"

    def __init__(self) -> None:
        super().__init__("This call takes an admin key; the API key that came is not one.")


class _WaitFirst(AccessRefused):
    """Refused until `retry_after_s` have passed."""

    http_status = 429
    close_code = 1013

    def __init__(self, message: str, *, retry_after_s: int) -> None:
        super().__init__(f"{message} Try again in {retry_after_s} s.")
        self.retry_after_s = retry_after_s


class WrongKeysBraked(_WaitFirst):
    code = "too-many-wrong-keys"
    title = "Too many wrong keys"

    def __init__(self, *, retry_after_s: int) -> None:
        super().__init__(
            "Too many wrong keys came from your address. A right key is taken at any time.",
            retry_after_s=retry_after_s,
        )


class RateExceeded(_WaitFirst):
    code = "rate-exceeded"
    title = "Too many requests"

    def __init__(self, *, limit_per_minute: int, retry_after_s: int) -> None:
        super().__init__(
            f"At most {limit_per_minute} requests a minute are taken from one key, or from one "
            "address where no key is needed.",
            retry_after_s=retry_after_s,
        )
        self.limit_per_minute = limit_per_minute


class KeyStreamsFull(AccessRefused):
    code = "key-streams-full"
    title = "Too many streams of one key"
    http_status = 429
    close_code = 1013

    def __init__(self, *, limit: int) -> None:
        super().__init__(
            f"{limit} streams are open with this key, or from this address where no key is "
            "needed, which is the limit. Close one, or try again later."
        )
        self.limit = limit


class ImageError(ClearcallError):
    """Bytes that should be a picture and cannot be served."""

    code = "image-error"
    title = "The picture cannot be used"
    http_status = 422
    close_code = 1007


class ImageUnsupported(ImageError):
    code = "image-unsupported"
    title = "Not a picture that can be read"
    http_status = 415
    close_code = 1003


class ImageBroken(ImageError):
    code = "image-broken"
    title = "The picture is damaged"


class ImageTooManyPixels(ImageError):
    """The header announces more pixels than allowed; nothing was decoded."""

    code = "image-too-many-pixels"
    title = "The picture has too many pixels"
    close_code = 1009

    def __init__(self, *, height: int, width: int, limit_px: int) -> None:
        super().__init__(
            f"The picture is {width}x{height} = {height * width / 1e6:.1f} megapixels; at most "
            f"{limit_px / 1e6:.1f} are accepted. Send a smaller picture, or raise the limit."
        )
        self.height, self.width, self.limit_px = height, width, limit_px


class UploadTooLarge(ImageError):
    """More bytes than allowed; reading stopped at the limit."""

    code = "upload-too-large"
    title = "Too many bytes"
    http_status = 413
    close_code = 1009

    def __init__(self, *, limit_bytes: int) -> None:
        super().__init__(
            f"The upload is larger than {limit_bytes / 1e6:.1f} MB. Send fewer bytes (a smaller "
            "picture or stronger compression), or raise the limit."
        )
        self.limit_bytes = limit_bytes


class UploadTooSlow(ImageError):
    """The bytes did not all arrive in time; reading stopped."""

    code = "upload-too-slow"
    title = "The upload took too long"
    http_status = 408
    close_code = 1008

    def __init__(self, *, limit_s: float) -> None:
        super().__init__(
            f"The upload did not arrive within {limit_s:g} s. Send fewer bytes, or raise the limit."
        )
        self.limit_s = limit_s


class FrameInvalid(ClearcallError):
    """A binary message that is not a frame; `sequence` is its number where it got that far."""

    code = "frame-invalid"
    title = "The message is not a frame"
    http_status = 422
    close_code = 1007

    def __init__(self, message: str, *, sequence: int | None = None) -> None:
        super().__init__(message)
        self.sequence = sequence


class QueueFull(ClearcallError):
    """The bound on waiting work is reached; the work was not taken."""

    code = "queue-full"
    title = "Too busy"
    http_status = 503
    close_code = 1013

    def __init__(self, *, limit: int, retry_after_s: int, state: str = "waiting") -> None:
        super().__init__(
            f"{limit} pictures are {state} already, which is the limit. "
            f"Try again in {retry_after_s} s."
        )
        self.limit, self.retry_after_s = limit, retry_after_s


class StreamsFull(ClearcallError):
    """The bound on open streams is reached."""

    code = "streams-full"
    title = "Too many streams"
    http_status = 503
    close_code = 1013

    def __init__(self, *, limit: int) -> None:
        super().__init__(f"{limit} streams are open already, which is the limit. Try again later.")
        self.limit = limit


class EngineBusy(ClearcallError):
    """The open streams take as many pixels per second as allowed; nothing new is taken."""

    code = "engine-busy"
    title = "At the limit of the load"
    http_status = 503
    close_code = 1013

    def __init__(self, *, limit_px_per_s: int, load_px_per_s: float, retry_after_s: int) -> None:
        super().__init__(
            f"The open streams take {load_px_per_s / 1e6:.1f} megapixels per second; nothing new "
            f"is taken from {limit_px_per_s / 1e6:.1f} on. Try again in {retry_after_s} s."
        )
        self.limit_px_per_s, self.load_px_per_s = limit_px_per_s, load_px_per_s
        self.retry_after_s = retry_after_s


class SharpeningFailed(ClearcallError):
    """The network failed on a picture; the cause is chained, and shown in the log only."""

    code = "sharpening-failed"
    title = "The picture could not be sharpened"
    http_status = 500
    close_code = 1011


class EngineStopped(ClearcallError):
    code = "engine-stopped"
    title = "Not ready"
    http_status = 503
    close_code = 1013
