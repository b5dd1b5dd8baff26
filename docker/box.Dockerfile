# SPDX-License-Identifier: GPL-3.0-or-later
# The box for machines with Docker, built by scripts/lib/docker-box.mjs: Orthanc as its official image has it, beside
# libnode and the compiler of the distribution that the image is made from.

ARG ORTHANC_IMAGE=orthancteam/orthanc:26.8.1
FROM ${ORTHANC_IMAGE}

# From scripts/lib/packages.mjs, which has a reason for each.
ARG PACKAGES
ARG APT_OPTIONS=""
LABEL org.orthanc-object-storage.box=""

# The official image has an Orthanc of its own, and its plugins in a folder from which its entry point takes those that are asked
# for. The distribution's Orthanc must not come beside it, not even by way of its PostgreSQL plugin, which depends on it.
RUN set -eu; \
    wanted="${PACKAGES:?is passed by scripts/lib/docker-box.mjs}"; \
    plugins=/usr/share/orthanc/plugins; \
    if command -v Orthanc; then \
      wanted="$(echo "${wanted}" | tr ' ' '\n' | grep -vxE 'orthanc|orthanc-postgresql' | tr '\n' ' ')"; \
      ln -s "${plugins}-available/libDelayedDeletion.so" "${plugins}-available/libOrthancPostgreSQLIndex.so" "${plugins}/"; \
    fi; \
    apt-get ${APT_OPTIONS} update; \
    DEBIAN_FRONTEND=noninteractive apt-get ${APT_OPTIONS} install --yes --no-install-recommends ${wanted}; \
    rm -rf /var/lib/apt/lists/*; \
    if echo "${wanted}" | grep -qw orthanc-dev; then \
      for command in Orthanc node g++ cmake ninja storescu; do command -v "${command}"; done; \
      ls -L /usr/include/node/node.h /usr/include/orthanc/OrthancCPlugin.h \
        "${plugins}/libDelayedDeletion.so" "${plugins}/libOrthancPostgreSQLIndex.so"; \
    fi

ENTRYPOINT []
CMD ["bash"]
