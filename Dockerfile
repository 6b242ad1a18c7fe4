# The server with its locked dependencies. Build: docker build --tag wallet .

FROM python:3.11-slim AS build
WORKDIR /source
RUN ["python", "-m", "venv", "/opt/wallet"]
COPY requirements/run.txt requirements/run.txt
RUN ["/opt/wallet/bin/pip", "install", "--no-cache-dir", "--require-hashes", \
     "--requirement", "requirements/run.txt"]
COPY clients/python clients/python
COPY pyproject.toml README.md LICENSE ./
COPY wallet_service wallet_service
RUN ["/opt/wallet/bin/pip", "install", "--no-cache-dir", "--no-deps", "--no-build-isolation", \
     "./clients/python", "."]

FROM python:3.11-slim
RUN ["useradd", "--system", "--uid", "10001", "--home-dir", "/var/lib/wallet", "--create-home", \
     "wallet"]
COPY --from=build /opt/wallet /opt/wallet
ENV PATH=/opt/wallet/bin:$PATH PYTHONUNBUFFERED=1 WALLET_LISTEN=0.0.0.0:50051
# A number, so that a cluster can tell that it is not root.
USER 10001
WORKDIR /var/lib/wallet
EXPOSE 50051
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=5s --start-period=40s CMD ["wallet", "healthcheck"]
ENTRYPOINT ["wallet"]
CMD ["serve"]
