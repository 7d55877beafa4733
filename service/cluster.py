"""Clearcall on Ray Serve (extra `scale`): replicas of the whole service, on one machine or on many.

    serve run service.cluster:app
    serve run service.cluster:app checkpoint=nano min_replicas=2 max_replicas=8 cpus=2

Each replica is what `create_app` builds, with a model of its own. A stream is one request to Ray
Serve: it stays with its replica to its end, and the streams that are open decide how many replicas
there are. Any replica answers `GET /metrics` for all of them.

Not here: HTTP and TCP, which Ray's proxies do. So the guards of `server` (slow headers, many
connections, readers that stall) have to stand in front of them: docs/scaling.md.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import logging.config
import math
import secrets
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import ray
from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError
from ray import serve
from ray.serve.config import AutoscalingConfig

from service.app import create_app, drain, load_served
from service.errors import SettingsInvalid
from service.exposition import merged_text
from service.logs import log_config
from service.model.cpus import available_cpus
from service.settings import Settings, load_settings

if TYPE_CHECKING:
    from fastapi import FastAPI
    from prometheus_client.metrics_core import Metric

__all__ = ["ClusterOptions", "app"]

_LOGGER = logging.getLogger(__name__)
_CPUS = 2.0
_STREAMS_ON_CPU, _STREAMS_ON_GPU = 2, 24  # docs/scaling.md has the table
_SPARE_REQUESTS = 8  # health, metrics and the page beside the streams and uploads
_HEALTH_PERIOD_S = 1.0
_SILENCE_S = 4 * _HEALTH_PERIOD_S  # without a health check, a replica may have been told to stop
_LOOK_BACK_S = 12.0  # a mean over more would be late: streams come and go slowly
_METRICS_TIMEOUT_S = 3.0


class ClusterOptions(BaseModel):
    """How many replicas there are, and of what. Every other argument is a setting."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    min_replicas: int = Field(default=1, ge=0, le=10_000, description="replicas at the least")
    max_replicas: int = Field(default=4, ge=1, le=10_000, description="replicas at the most")
    cpus: float | None = Field(
        default=None, gt=0, le=1024, description="CPU cores of a replica; none = 2, or all of them"
    )
    gpus: float | None = Field(
        default=None,
        ge=0,
        le=64,
        description="GPUs of a replica, 0.5 = two share one; none = 1 where the cluster has any",
    )
    streams: float | None = Field(
        default=None,
        gt=0,
        le=1000,
        description="open streams of a replica, beyond which another one is started; none = 2, "
        "with a GPU 24",
    )
    upscale_delay_s: float = Field(
        default=5.0, ge=0, le=3600, description="how long before a replica is added"
    )
    downscale_delay_s: float = Field(
        default=300.0, ge=0, le=86_400, description="how long before one is taken away"
    )


@serve.ingress()
class Clearcall:
    """One replica."""

    def __init__(self, settings: Settings) -> None:
        """Loads the model.

        Raises:
            ClearcallError: It cannot be served; Ray shows the message as the deployment's.
        """
        logging.config.dictConfig(log_config(settings))
        self._app = create_app(settings, load_served(settings))
        self._app.state.exposition = self._exposition_of_all
        context = serve.get_replica_context()
        self._name = context.replica_tag
        self._place = context.app_name, context.deployment
        self._checked_s = time.monotonic()
        self._watch: asyncio.Task[None] | None = None

    def __serve_build_asgi_app__(self) -> FastAPI:
        return self._app

    async def check_health(self) -> None:
        """Called by Ray, not of a replica that is to go.

        Raises:
            EngineStopped: It has to be replaced.
        """
        self._checked_s = time.monotonic()
        if self._watch is None:
            self._watch = asyncio.create_task(self._drain_when_told())
        self._app.state.parts.engine.check_ready()

    async def families(self) -> tuple[str, list[Metric]]:
        """What this replica has counted, and its name. For the other replicas."""
        return self._name, list(self._app.state.parts.metrics.registry.collect())

    def _exposition_of_all(self) -> bytes:
        app_name, deployment = self._place
        handle = serve.get_deployment_handle(deployment, app_name)
        found = handle.broadcast("families").results(
            timeout_s=_METRICS_TIMEOUT_S, return_exceptions=True
        )
        return merged_text(dict(each for each in found if not isinstance(each, Exception)))

    async def _drain_when_told(self) -> None:
        """Ends the streams, with a reason, of a replica that is to go.

        Ray does not tell it: it stops to route to it, and to check its health.
        """
        while True:
            await asyncio.sleep(_HEALTH_PERIOD_S)
            if time.monotonic() - self._checked_s < _SILENCE_S:
                continue
            with contextlib.suppress(Exception):  # the controller may be away, too
                if await asyncio.to_thread(self._has_stopping):
                    break
        _LOGGER.info("replica %s is to stop: its streams are asked to go elsewhere", self._name)
        await drain(self._app)

    def _has_stopping(self) -> bool:
        app_name, deployment = self._place
        application = serve.status().applications.get(app_name)
        if application is None or deployment not in application.deployments:
            return True
        return bool(application.deployments[deployment].replica_states.get("STOPPING", 0))


def app(arguments: Mapping[str, Any]) -> serve.Application:
    """Builds the Serve application.

    Args:
        arguments: Fields of `ClusterOptions` and of `Settings`, as text or not; a setting that is
            not among them is read from its CLEARCALL_* variable.

    Raises:
        SettingsInvalid: One of them is wrong.
    """
    own = {name: arguments[name] for name in ClusterOptions.model_fields if name in arguments}
    options = _read_options(own)
    settings = load_settings({k: v for k, v in arguments.items() if k not in own})
    cpus, gpus = _cpus(options), _gpus(options)
    settings = _for_replica(settings, cpus=cpus, gpus=gpus)
    streams = options.streams or (_STREAMS_ON_GPU if gpus else _STREAMS_ON_CPU)
    ongoing = settings.max_streams + settings.max_uploads + _SPARE_REQUESTS
    return serve.deployment(
        Clearcall,
        name="Clearcall",
        ray_actor_options={"num_cpus": cpus, "num_gpus": gpus},
        autoscaling_config=AutoscalingConfig(
            min_replicas=options.min_replicas,
            max_replicas=options.max_replicas,
            target_ongoing_requests=streams,
            upscale_delay_s=options.upscale_delay_s,
            downscale_delay_s=options.downscale_delay_s,
            look_back_period_s=_LOOK_BACK_S,
        ),
        max_ongoing_requests=ongoing,
        max_queued_requests=ongoing,
        health_check_period_s=_HEALTH_PERIOD_S,
        graceful_shutdown_wait_loop_s=0.5,
        graceful_shutdown_timeout_s=settings.drain_s + 3 * _SILENCE_S,
    ).bind(settings)


def _read_options(arguments: Mapping[str, Any]) -> ClusterOptions:
    try:
        options = ClusterOptions(**arguments)
    except ValidationError as exc:
        told = (
            f"{error['loc'][0]} is {error['input']!r}: {error['msg']}" for error in exc.errors()
        )
        raise SettingsInvalid("; ".join(told)) from exc
    if options.min_replicas > options.max_replicas:
        raise SettingsInvalid(
            f"min_replicas ({options.min_replicas}) is more than max_replicas "
            f"({options.max_replicas})"
        )
    return options


def _gpus(options: ClusterOptions) -> float:
    if options.gpus is not None:
        return options.gpus
    return 1.0 if _resources()["GPU"] >= 1 else 0.0


def _cpus(options: ClusterOptions) -> float:
    return options.cpus or min(_CPUS, _resources()["CPU"])


def _resources() -> dict[str, float]:
    """CPUs and GPUs of the cluster; `serve run` asks before there is one, which this machine is."""
    if ray.is_initialized():
        found = ray.cluster_resources()
        return {kind: float(found.get(kind, 0)) for kind in ("CPU", "GPU")}
    import torch  # takes seconds

    return {"CPU": float(available_cpus()), "GPU": float(torch.cuda.device_count())}


def _for_replica(settings: Settings, *, cpus: float, gpus: float) -> Settings:
    """What a replica needs to keep to its share, and to agree with the others."""
    cores = max(1, math.floor(cpus))
    shared: dict[str, Any] = {}
    if settings.device == "auto":
        shared["device"] = "cuda" if gpus else "cpu"
    if not settings.threads:
        shared["threads"] = cores
    if not settings.codec_threads:
        shared["codec_threads"] = max(2, cores)
    if settings.token_secret is None:  # a token from one replica is good for all
        shared["token_secret"] = SecretStr(secrets.token_urlsafe(32))
    return settings.model_copy(update=shared)
