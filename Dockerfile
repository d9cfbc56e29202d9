# syntax=docker/dockerfile:1
# An image for the nodes of a Ray cluster, head and workers alike: Ray, the packages and the command `fleetembed`.
#   docker build -t fleetembed .
#   docker build -t fleetembed:gpu --build-arg EXTRAS=gpu .
#   docker build -t fleetembed:aws --build-arg EXTRAS=aws .     (the head of deploy/ray-up)
# CUDA and cuDNN come as NVIDIA's wheels: a node needs its driver and the container toolkit, and no other base image.
# There is no model in it: they are looked for, and kept, in /models.
ARG PYTHON=3.11

FROM python:${PYTHON}-slim AS build
ARG EXTRAS=""
ARG UV=0.13.9
ENV UV_LINK_MODE=copy UV_PYTHON_DOWNLOADS=never
WORKDIR /src
RUN pip install --no-cache-dir "uv==${UV}"
# Each file that is installed, or that the wheel is built by, has a hash in one of the locks, else uv refuses it. uv itself,
# which stays in this stage, is pinned by its version.
COPY pyproject.toml requirements.lock ./
COPY deploy/gpu.lock deploy/
RUN uv venv --python python3 /opt/fleetembed
# A step of its own, since all others are cheap to try.
# hadolint ignore=DL3059
RUN uv pip install --python /opt/fleetembed/bin/python --no-cache --compile-bytecode --require-hashes \
    --constraint requirements.lock --constraint deploy/gpu.lock -r pyproject.toml ${EXTRAS:+--extra "${EXTRAS}"}
COPY README.md LICENSE ./
COPY embedders embedders
COPY fleetembed fleetembed
COPY pipelines pipelines
RUN uv build --quiet --wheel --out-dir /dist --build-constraints requirements.lock --require-hashes \
    && uv pip install --python /opt/fleetembed/bin/python --no-cache --compile-bytecode --no-deps /dist/*.whl
COPY jobs /jobs
RUN /opt/fleetembed/bin/python -m compileall -q /jobs

FROM python:${PYTHON}-slim
# KubeRay's probes call wget; its containers start by a login shell, which sets PATH anew. `ray up` copies files into each
# container by rsync, and its head starts the other machines by ssh.
# hadolint ignore=DL3008,SC2016
RUN apt-get update && apt-get install --yes --no-install-recommends openssh-client rsync wget \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 1000 --gid users --create-home --shell /bin/bash ray \
    && install --directory --owner=ray --group=users /models \
    && echo 'PATH=/opt/fleetembed/bin:$PATH' > /etc/profile.d/fleetembed.sh
COPY --from=build /opt/fleetembed /opt/fleetembed
COPY --from=build /jobs /home/ray/jobs
ENV PATH=/opt/fleetembed/bin:${PATH} \
    FLEETEMBED_CACHE_DIR=/models \
    RAY_USAGE_STATS_ENABLED=0 \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility
USER 1000:100
WORKDIR /home/ray
# No entry point: KubeRay and `docker run` give the whole command.
CMD ["fleetembed", "--help"]
