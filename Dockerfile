# The page and the API on a CPU. docs/http-api.md says how to run it.
FROM python:3.12-slim AS build
WORKDIR /build
RUN python -m venv /opt/vaeneer
ENV PATH=/opt/vaeneer/bin:$PATH PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
COPY constraints.txt pyproject.toml README.md LICENSE ./
COPY src src
# PyTorch for CPUs alone is a tenth of the one with CUDA.
RUN pip install --extra-index-url https://download.pytorch.org/whl/cpu -c constraints.txt .

FROM python:3.12-slim
COPY --from=build /opt/vaeneer /opt/vaeneer
RUN useradd --uid 10001 --no-create-home --shell /usr/sbin/nologin vaeneer
# What would be written to a home folder goes to /tmp; the rest of the disk may be read-only.
ENV PATH=/opt/vaeneer/bin:$PATH HOME=/tmp MPLCONFIGDIR=/tmp PYTHONDONTWRITEBYTECODE=1 \
    OMP_WAIT_POLICY=PASSIVE
USER 10001
EXPOSE 8765
VOLUME ["/library"]
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s CMD ["python", "-c", \
    "import urllib.request as u; u.urlopen('http://127.0.0.1:8765/healthz', timeout=4)"]
ENTRYPOINT ["vaeneer"]
CMD ["serve", "/library", "--host", "0.0.0.0", "--token-file", "/run/secrets/token"]
