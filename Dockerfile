# SPDX-License-Identifier: MPL-2.0

# The plugin as an image, for a Vault that runs its plugins in containers
# ("vault plugin register -oci_image="). It holds the binary of "make dist" and
# the certificates that it checks the providers by:
#
#   make dist VERSION=v1.2.3
#   docker build -f Dockerfile --build-arg VERSION=v1.2.3 \
#     -t vault-plugin-secrets-messaging:1.2.3 dist
#
# The tag is the version without its v: that is how Vault looks the image up.
# docs/upgrade.md shows how to register it.

FROM alpine:3.22 AS certificates

FROM scratch
ARG VERSION
ARG TARGETARCH
COPY --from=certificates /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY vault-plugin-secrets-messaging_${VERSION}_linux_${TARGETARCH} /vault-plugin-secrets-messaging
USER 65532:65532
ENTRYPOINT ["/vault-plugin-secrets-messaging"]
