# The trainer: docker compose --profile train run trainer distill --data /data --out /checkpoints/mine
ARG PYTHON_IMAGE=python:3.11-slim-bookworm

FROM ${PYTHON_IMAGE} AS build
# As in service.Dockerfile.
ARG TORCH_INDEX=""
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PYTHONDONTWRITEBYTECODE=1
RUN python3 -m venv /opt/clearcall
COPY docker/constraints.txt docker/wheels* /build/wheels/
RUN grep '^torch==' /build/wheels/constraints.txt > /build/torch.txt \
    && /opt/clearcall/bin/pip install --find-links /build/wheels \
        ${TORCH_INDEX:+--extra-index-url "$TORCH_INDEX"} --requirement /build/torch.txt
WORKDIR /build/source
COPY pyproject.toml README.md LICENSE ./
COPY clearcall clearcall
COPY desktop desktop
COPY service service
COPY trainer trainer
RUN /opt/clearcall/bin/pip install --find-links /build/wheels \
        --constraint /build/wheels/constraints.txt '.[trainer]' \
    && /opt/clearcall/bin/pip uninstall --yes pip setuptools

FROM ${PYTHON_IMAGE}
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="Clearcall trainer" \
      org.opencontainers.image.description="Trains Clearcall's students" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
# The same user as the service: they share a volume.
RUN useradd --system --uid 10001 --user-group --home-dir /nonexistent --no-create-home clearcall \
    && install -d -o clearcall -g clearcall /checkpoints
COPY --from=build /opt/clearcall /opt/clearcall
ENV PATH=/opt/clearcall/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 HOME=/tmp
USER 10001:10001
WORKDIR /tmp
# The state is saved on Ctrl+C; started again, a run goes on where it was.
STOPSIGNAL SIGINT
ENTRYPOINT ["clearcall-train"]
CMD ["--help"]
