# SPDX-License-Identifier: MPL-2.0

# An image of the plugin, for a Vault server that runs plugins in containers
# ("vault plugin register -oci_image="). The image holds the binary from "make dist" and the CA
# certificates for TLS connections to the providers:
#
#   make dist VERSION=v1.2.3
#   docker build -f Dockerfile --build-arg VERSION=v1.2.3 \
#     -t vault-plugin-secrets-messaging:1.2.3 dist
#
# The tag is the version without the v, because Vault looks for that tag.
# docs/upgrade.md shows how to register it.

FROM alpine:3.22 AS certificates

FROM scratch
ARG VERSION
ARG TARGETARCH
COPY --from=certificates /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY vault-plugin-secrets-messaging_${VERSION}_linux_${TARGETARCH} /vault-plugin-secrets-messaging
USER 65532:65532
ENTRYPOINT ["/vault-plugin-secrets-messaging"]
