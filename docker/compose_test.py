"""`make compose-test`: the whole deployment on this machine, without a GPU.

Builds the images, starts service, TLS front and Prometheus with docker-compose.cpu.yml, and goes
through what an operator relies on: readiness, the page and POST /sharpen through TLS, a stream
through the front, Prometheus' rate against what the client counted, a checkpoint written by the
trainer's container and taken up by the service, two replicas. Grafana is started where its image is
at hand. Everything it started is stopped and removed, also after a failure.

    make compose-test COMPOSE_TEST="[--keep] [--torch-index URL]"

Wheels in docker/wheels are used by the build, which then needs no index for them.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx

from clearcall.blocking import BlockingClient

__all__ = ["main"]

_ROOT = Path(__file__).parents[1]
_PICTURE = next(iter(sorted((_ROOT / "tests/samples").glob("*.jpg"))))
_PROJECT = "clearcall-test"
_HTTPS_PORT, _HTTP_PORT, _PROMETHEUS_PORT = 18443, 18080, 19090
_URL = f"https://localhost:{_HTTPS_PORT}"
_STREAM_S = 40.0
_RATE_TOLERANCE = 0.1


def main() -> int:
    """Runs it; exit code 0 when everything holds."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--keep", action="store_true", help="leave it running")
    parser.add_argument(
        "--torch-index",
        default=None,
        help="where PyTorch's CPU build is; empty = the ordinary index (default: the file's)",
    )
    arguments = parser.parse_args()
    _check_gpu_settings()
    with _environment(arguments.torch_index), _running(is_kept=arguments.keep):
        certificate = _certificate()
        context = ssl.create_default_context(cafile=str(certificate))
        with httpx.Client(base_url=_URL, verify=context, timeout=60) as client:
            _check_page(client)
            _check_picture(client)
            os.environ["SSL_CERT_FILE"] = str(certificate)
            _check_stream()
            _check_checkpoint()
            _check_two_replicas(client)
    print("All of it holds.")
    return 0


def _compose(*argv: str, capture: bool = False, files: tuple[str, ...] = ()) -> str:
    program = (
        ["docker", "compose"] if _has_compose_plugin() else [shutil.which("docker-compose") or ""]
    )
    chosen = files or ("docker-compose.yml", "docker-compose.cpu.yml")
    names = [part for file in chosen for part in ("-f", file)]
    done = subprocess.run(
        [*program, "-p", _PROJECT, *names, *argv],
        cwd=_ROOT,
        check=True,
        text=True,
        stdout=subprocess.PIPE if capture else None,
    )
    return done.stdout or ""


def _has_compose_plugin() -> bool:
    asked = subprocess.run(["docker", "compose", "version"], capture_output=True, check=False)
    return asked.returncode == 0


def _check_gpu_settings() -> None:
    said = _compose("config", capture=True, files=("docker-compose.yml",))
    assert said.count("runtime: nvidia") >= 1, said
    without = _compose("config", capture=True)
    assert "runtime: nvidia" not in without, without
    print("ok  GPU by default, none with the other file", flush=True)


@contextlib.contextmanager
def _environment(torch_index: str | None) -> Iterator[None]:
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "data"
        shutil.copytree(_ROOT / "examples/pictures", data)
        os.environ |= {
            "CLEARCALL_HTTPS_PORT": str(_HTTPS_PORT),
            "CLEARCALL_HTTP_PORT": str(_HTTP_PORT),
            "PROMETHEUS_PORT": str(_PROMETHEUS_PORT),
            "CLEARCALL_DATA": str(data),
            "CLEARCALL_TOKEN_SECRET": "only-for-this-test-0123456789abcdef",
        }
        if torch_index is not None:
            os.environ["TORCH_INDEX"] = torch_index
        yield


@contextlib.contextmanager
def _running(*, is_kept: bool) -> Iterator[None]:
    services = ["service", "front", "prometheus"]
    grafana = os.environ.get("GRAFANA_IMAGE", "grafana/grafana:latest")
    inspected = subprocess.run(
        ["docker", "image", "inspect", grafana], capture_output=True, check=False
    )
    if inspected.returncode:
        print("--  no Grafana image here: its queries are tested in tests/docker", flush=True)
    else:
        services.append("grafana")
    try:
        _compose("build", "service", "trainer")
        _compose("up", "--no-start", "--no-build", *services)
        _give_prometheus_its_volume()
        _compose("up", "--detach", "--no-build", *services)
        yield
    except BaseException:
        _compose("logs", "--tail", "40")
        raise
    finally:
        if not is_kept:
            _compose("down", "--volumes", "--timeout", "20")


def _give_prometheus_its_volume() -> None:
    """As Prometheus' own image does; one from a distribution's package may not."""
    image = os.environ.get("CLEARCALL_IMAGE", "clearcall:cpu")
    volume = f"{_PROJECT}_prometheus-data:/prometheus"
    chown = ["--user", "0", "--entrypoint", "chown", image, "65534:65534", "/prometheus"]
    subprocess.run(["docker", "run", "--rm", "-v", volume, *chown], check=True)


def _certificate() -> Path:
    """The front's own root certificate, from its volume."""
    target = Path(tempfile.mkdtemp()) / "root.crt"
    inside = "/data/caddy/pki/authorities/local/root.crt"

    def copied() -> bool:
        container = _compose("ps", "-q", "front", capture=True).split()[0]
        done = subprocess.run(
            ["docker", "cp", f"{container}:{inside}", str(target)],
            capture_output=True,
            check=False,
        )
        return done.returncode == 0

    _until("the front has made its certificate", copied)
    return target


def _until(what: str, holds: Callable[[], bool], *, limit_s: float = 120) -> None:
    end_s = time.monotonic() + limit_s
    while not holds():
        if time.monotonic() > end_s:
            raise AssertionError(f"not within {limit_s:.0f} s: {what}")
        time.sleep(0.5)
    print(f"ok  {what}", flush=True)


def _check_page(client: httpx.Client) -> None:
    def is_there() -> bool:
        try:
            return "Clearcall" in client.get("/").raise_for_status().text
        except httpx.HTTPError:
            return False

    _until("the page comes through TLS", is_there)
    assert client.get("/metrics").status_code == 404, "figures must stay inside"


def _check_picture(client: httpx.Client) -> None:
    answer = client.post("/sharpen", content=_PICTURE.read_bytes())
    answer.raise_for_status()
    assert answer.content.startswith(b"\xff\xd8\xff")
    print(
        f"ok  POST /sharpen through the front ({answer.headers['X-Clearcall-Model']})", flush=True
    )


def _stream(url: str, lasts_s: float) -> float:
    """Sends one frame after another; results per second."""
    frame = _PICTURE.read_bytes()
    results = 0
    with BlockingClient(url) as client:
        started_s = time.monotonic()
        while time.monotonic() - started_s < lasts_s:
            client.offer(frame)
            client.result(timeout_s=20)
            results += 1
        return results / (time.monotonic() - started_s)


def _check_stream() -> None:
    counted = _stream(f"wss://localhost:{_HTTPS_PORT}/stream", _STREAM_S)
    rate = _query("sum(rate(clearcall_frames_sent_total[30s]))")
    print(f"    client {counted:.2f}, Prometheus {rate:.2f} frames a second", flush=True)
    assert abs(rate - counted) <= _RATE_TOLERANCE * counted, (rate, counted)
    assert _query('min(up{job="clearcall"})') == 1
    print("ok  a stream through the front, counted alike by Prometheus", flush=True)


def _query(query: str) -> float:
    answer = httpx.get(
        f"http://127.0.0.1:{_PROMETHEUS_PORT}/api/v1/query", params={"query": query}
    ).json()
    found = answer["data"]["result"]
    return float(found[0]["value"][1]) if found else 0.0


def _check_checkpoint() -> None:
    """The trainer writes a student into the volume; the service takes it up.

    It starts from the bundled one and hardly moves: a few steps from nothing make no student that
    the gate would let through.
    """
    _compose(
        *("run", "--rm", "trainer", "distill", "--data", "/data", "--out", "/checkpoints/fresh"),
        *("--size", "small", "--init", "small", "--rate", "1e-7", "--warmup", "0"),
        *("--steps", "1", "--batch", "1", "--crop", "64", "--workers", "0"),
    )
    _compose(
        *("run", "--rm", "trainer", "export", "--out", "/checkpoints"),
        *("--checkpoint", "/checkpoints/fresh/student.safetensors"),
    )
    _until(
        "the service has taken the trainer's checkpoint up",
        lambda: _query('sum(clearcall_checkpoint_reloads_total{result="activated"})') > 0,
    )


def _check_two_replicas(client: httpx.Client) -> None:
    _compose("up", "--detach", "--no-build", "--no-recreate", "--scale", "service=2", "service")
    _until("Prometheus finds two replicas", lambda: _query('sum(up{job="clearcall"})') == 2)
    _until(
        "the front sends pictures to both",
        lambda: (
            client.post("/sharpen", content=_PICTURE.read_bytes()).is_success
            and _query('count(clearcall_images_total{status="200"} > 0)') == 2
        ),
    )
    _stream(f"wss://localhost:{_HTTPS_PORT}/stream", 5)
    print("ok  a stream beside two replicas", flush=True)


if __name__ == "__main__":
    sys.exit(main())
