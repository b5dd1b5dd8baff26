#!/bin/bash
# SPDX-License-Identifier: GPL-3.0-or-later
# What the official image's entry point does: the configuration, then Orthanc in its own place.
set -e
if [ "$(cat /etc/hostid)" = not-generated ]; then
  od -An -N4 -tx4 /dev/urandom | tr -d ' ' > /etc/hostid
fi
python3 /startup/configure.py
exec Orthanc ${VERBOSE_ENABLED:+--verbose} "$@"
