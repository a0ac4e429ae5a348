# One image for everything: the server, and its commands (bun run migrate, backup, doctor, users).
#   docker build -t mantou . && docker run -p 127.0.0.1:3000:3000 -v mantou:/data mantou
FROM oven/bun:1.4.5-slim AS build
WORKDIR /app
COPY package.json bun.lock ./
# Peers are types and compilers. The deleted files serve only editors and debuggers.
RUN bun install --production --omit=peer --frozen-lockfile \
  && find node_modules -type f \( -name '*.map' -o -name '*.d.ts' -o -name '*.d.mts' -o -name '*.d.cts' \) -delete
COPY drizzle drizzle
COPY src src
# Every user may read the files and none may write them, whatever the rights on the building machine were.
RUN chmod -R a+rX,go-w .

FROM oven/bun:1.4.5-slim
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="mantou" \
  org.opencontainers.image.description="A small HTTP API for users, projects and tasks, on Bun and PostgreSQL" \
  org.opencontainers.image.licenses="MIT" \
  org.opencontainers.image.version="${VERSION}" \
  org.opencontainers.image.revision="${REVISION}" \
  org.opencontainers.image.base.name="docker.io/oven/bun:1.4.5-slim"
# A volume that is created here gets this owner, and the root of the container can be read-only.
RUN mkdir --mode=700 /data && chown 1000:1000 /data
COPY --from=build /app /app
WORKDIR /app
# NODE_ENV is not set, so a single container generates its JWT_SECRET and keeps it in /data. With NODE_ENV=production, as in
# compose.yaml, JWT_SECRET must be set, because all replicas need the same one.
ENV HOST=0.0.0.0 \
  DATA_DIR=/data
USER 1000:1000
VOLUME /data
EXPOSE 3000
# Checks the process, not the database (/health/ready does): a restart of this container does not cure the database.
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s \
  CMD ["bun", "src/cli/health.ts"]
CMD ["bun", "src/server/main.ts"]
