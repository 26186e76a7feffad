# Everstep in a container: docker build -t everstep . && docker run -p 8080:8080 -v world:/data everstep
FROM python:3.13-slim

RUN useradd --create-home --uid 10001 everstep && install -d -o everstep /data
WORKDIR /opt/everstep

COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY server ./server
COPY protocol ./protocol
COPY config ./config
COPY games ./games
COPY clients ./clients
COPY web ./web
# Run from its checkout, as everywhere: server and protocol are names too general for site-packages.
RUN pip install --no-cache-dir --constraint constraints.txt --editable '.[mongo,redis]'

USER everstep
ENV EVERSTEP_SERVER__HOST=0.0.0.0 EVERSTEP_SERVER__DATA_DIR=/data
EXPOSE 8080
# Ready would be wrong here: a supervisor restarts what is dead, not what is busy starting.
HEALTHCHECK --interval=10s --start-period=30s \
    CMD ["python", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:8080/healthz', timeout=5)"]
CMD ["everstep", "run"]
