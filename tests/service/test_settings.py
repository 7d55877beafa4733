"""service.settings: what is read, what wins, what is refused and how that is said."""

from __future__ import annotations

from pathlib import Path

import pydantic
import pytest

from service.errors import SettingsInvalid
from service.settings import Settings, load_settings, unknown_variables


def test_without_variables_and_flags_the_defaults_hold() -> None:
    settings = load_settings()
    assert (settings.host, settings.port) == ("127.0.0.1", 8000)
    assert settings.checkpoint == Path("small")
    assert (settings.device, settings.backend, settings.precision) == ("auto", "auto", "auto")
    assert settings.threads == 0
    assert (settings.max_upload_bytes, settings.max_pixels) == (20_000_000, 50_000_000)
    assert settings.allowed_origins == ()


def test_a_variable_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLEARCALL_PORT", "9000")
    monkeypatch.setenv("CLEARCALL_CHECKPOINT", "/models/student.safetensors")
    monkeypatch.setenv("CLEARCALL_DEVICE", "CPU")
    monkeypatch.setenv("CLEARCALL_PRECISION", "BF16")
    settings = load_settings()
    assert settings.port == 9000
    assert settings.checkpoint == Path("/models/student.safetensors")
    assert settings.device == "cpu"
    assert settings.precision == "bf16"


def test_a_flag_wins_over_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLEARCALL_PORT", "9000")
    assert load_settings({"port": "9001"}).port == 9001


def test_an_empty_variable_is_as_good_as_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLEARCALL_PORT", "")
    assert load_settings().port == 8000


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("port", "65536"),
        ("port", "-1"),
        ("port", "http"),
        ("host", ""),
        ("device", "tpu"),
        ("backend", "onnx"),
        ("precision", "int8"),
        ("threads", "-1"),
        ("codec_threads", "65"),
        ("ladder", "huge"),
        ("batch_wait_ms", "-1"),
        ("batch_wait_ms", "nan"),
        ("max_pixels_per_s", "-1"),
        ("drain_s", "-1"),
        ("drain_s", "inf"),
        ("max_upload_bytes", "999"),
        ("max_pixels", "0"),
        ("max_uploads", "0"),
        ("upload_timeout_s", "0"),
        ("upload_timeout_s", "nan"),
        ("max_waiting_images", "-1"),
        ("max_frame_bytes", "0"),
        ("checkpoint", ""),
        ("checkpoints", " "),
        ("max_frame_pixels", "0"),
        ("max_streams", "0"),
        ("frames_in_flight", "17"),
        ("window", "0"),
        ("max_stream_fps", "-1"),
        ("max_stream_bytes_per_s", "inf"),
        ("idle_timeout_s", "nan"),
        ("stalled_reader_s", "4000"),
        ("allowed_origins", "meet.example.org"),
        ("allowed_origins", "https://meet.example.org/room"),
        ("log_level", "loud"),
    ],
)
def test_a_wrong_value_is_refused_by_the_names_of_its_variable_and_flag(
    name: str, value: str
) -> None:
    with pytest.raises(SettingsInvalid) as caught:
        load_settings({name: value})
    message = str(caught.value)
    assert f"CLEARCALL_{name.upper()}" in message
    assert f"--{name.replace('_', '-')}" in message
    assert str(Settings.model_fields[name].description) in message
    assert repr(value) in message
    assert "\n" not in message


def test_a_network_may_be_named_by_any_of_its_addresses() -> None:
    settings = load_settings({"trusted_proxies": "172.18.0.1/16, ::1"})
    assert settings.trusted_proxies == ("172.18.0.0/16", "::1/128")


def test_all_wrong_values_are_told_at_once() -> None:
    with pytest.raises(SettingsInvalid, match=r"CLEARCALL_PORT.*CLEARCALL_THREADS"):
        load_settings({"port": "x", "threads": "x"})


def test_a_flag_that_does_not_exist_is_refused() -> None:
    with pytest.raises(SettingsInvalid, match="colour is not a setting"):
        load_settings({"colour": "red"})


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(pydantic.ValidationError):
        load_settings().port = 1


def test_origins_are_separated_by_commas_and_compared_in_lower_case() -> None:
    settings = load_settings(
        {"allowed_origins": "https://Meet.example.org, http://localhost:5173,"}
    )
    assert settings.allowed_origins == ("https://meet.example.org", "http://localhost:5173")


@pytest.mark.parametrize(
    ("given", "read"),
    [
        ("nano", ("nano",)),
        (" small, nano ,", ("small", "nano")),
        ("nano,nano", ("nano",)),
        ("none", ()),
        ("", ()),
    ],
)
def test_the_ladder_is_a_list_of_sizes_or_none(given: str, read: tuple[str, ...]) -> None:
    assert load_settings({"ladder": given}).ladder == read


def test_a_ladder_can_be_switched_off_by_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    assert load_settings().ladder == ("small", "nano")
    monkeypatch.setenv("CLEARCALL_LADDER", "None")
    assert load_settings().ladder == ()


def test_every_setting_has_a_description() -> None:
    assert all(field.description for field in Settings.model_fields.values())


def test_a_variable_that_nothing_reads_is_found_with_what_was_meant() -> None:
    environment = {
        "CLEARCALL_MAX_PIXLES": "1",
        "CLEARCALL_SERVICE_HOST": "10.0.0.1",
        "CLEARCALL_PORT": "1",
        "HOME": "/",
    }
    assert unknown_variables(environment) == {
        "CLEARCALL_MAX_PIXLES": "CLEARCALL_MAX_PIXELS",
        "CLEARCALL_SERVICE_HOST": None,
    }
