# The service. By default with PyTorch's CUDA build, for a GPU host:
#   docker build -f docker/service.Dockerfile -t clearcall .
# For Ray on Kubernetes, see docs/scaling.md:
#   docker build -f docker/service.Dockerfile -t clearcall:scale --build-arg EXTRAS=scale .
# Without CUDA libraries, for a host without a GPU:
#   docker build -f docker/service.Dockerfile -t clearcall:cpu --build-arg TORCH_INDEX=https://download.pytorch.org/whl/cpu .
ARG PYTHON_IMAGE=python:3.11-slim-bookworm

FROM ${PYTHON_IMAGE} AS build
# Where to look for PyTorch beside the ordinary index; empty = the ordinary index, with CUDA.
ARG TORCH_INDEX=""
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PYTHONDONTWRITEBYTECODE=1
RUN python3 -m venv /opt/clearcall
# Wheels that lie in docker/wheels are taken before the index's, for builds without a network.
COPY docker/constraints.txt docker/wheels* /build/wheels/
# By itself, since it is nine tenths of the image and changes least. Of one version, pip takes the
# build with a local label (+cpu) first.
RUN grep '^torch==' /build/wheels/constraints.txt > /build/torch.txt \
    && /opt/clearcall/bin/pip install --find-links /build/wheels \
        ${TORCH_INDEX:+--extra-index-url "$TORCH_INDEX"} --requirement /build/torch.txt
WORKDIR /build/source
COPY pyproject.toml README.md LICENSE ./
COPY clearcall clearcall
COPY desktop desktop
COPY service service
COPY trainer trainer
ARG EXTRAS=""
RUN /opt/clearcall/bin/pip install --find-links /build/wheels \
        --constraint /build/wheels/constraints.txt ".${EXTRAS:+[$EXTRAS]}" \
    && /opt/clearcall/bin/pip uninstall --yes pip setuptools

FROM ${PYTHON_IMAGE}
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="Clearcall" \
      org.opencontainers.image.description="Makes blurred, low-bandwidth video-call pictures sharp in real time" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
RUN useradd --system --uid 10001 --user-group --home-dir /nonexistent --no-create-home clearcall \
    && install -d -o clearcall -g clearcall /checkpoints
# KubeRay's probes call wget, and it starts Ray from a login shell, which sets a PATH of its own.
ARG EXTRAS=""
RUN case "$EXTRAS" in *scale*) \
        apt-get update && apt-get install --yes --no-install-recommends wget \
        && rm -rf /var/lib/apt/lists/* \
        && echo 'PATH=/opt/clearcall/bin:$PATH' > /etc/profile.d/clearcall.sh ;; esac
COPY --from=build /opt/clearcall /opt/clearcall
ENV PATH=/opt/clearcall/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 \
    CLEARCALL_HOST=0.0.0.0 CLEARCALL_PORT=8000
USER 10001:10001
WORKDIR /tmp
EXPOSE 8000
# Drains: streams end with a reason, see CLEARCALL_DRAIN_S.
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python3", "-c", "import os, urllib.request; urllib.request.urlopen(f\"http://127.0.0.1:{os.environ['CLEARCALL_PORT']}/health/ready\", timeout=4)"]
CMD ["clearcall", "serve"]
