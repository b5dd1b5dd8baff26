# SPDX-License-Identifier: GPL-3.0-or-later
# The box for machines with Docker, built by scripts/lib/docker-box.mjs: Orthanc as its official image has it, beside
# libnode and the compiler of the distribution that the image is made from.

ARG ORTHANC_IMAGE=orthancteam/orthanc:26.8.1
FROM ${ORTHANC_IMAGE}

# From scripts/lib/packages.mjs, which has a reason for each.
ARG PACKAGES
ARG APT_OPTIONS=""
LABEL org.orthanc-object-storage.box=""

# The official image has an Orthanc of its own, in /usr/local; the distribution's would put plugins beside it.
RUN set -eu; \
    wanted=" ${PACKAGES:?is passed by scripts/lib/docker-box.mjs} "; \
    if command -v Orthanc; then wanted="${wanted%% orthanc *} ${wanted#* orthanc }"; fi; \
    apt-get ${APT_OPTIONS} update; \
    DEBIAN_FRONTEND=noninteractive apt-get ${APT_OPTIONS} install --yes --no-install-recommends ${wanted}; \
    rm -rf /var/lib/apt/lists/*; \
    for command in Orthanc node g++ cmake ninja storescu; do command -v "${command}"; done; \
    test -f /usr/include/node/node.h; \
    test -f /usr/include/orthanc/OrthancCPlugin.h

ENTRYPOINT []
CMD ["bash"]
