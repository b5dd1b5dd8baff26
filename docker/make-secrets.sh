#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# Makes docker/secrets, the passwords and keys of compose.yaml, at random. What is there already stays.
set -eu
cd "$(dirname "$0")"
umask 077
mkdir -p secrets
cd secrets

# Containers read the files as users of their own; others on this machine are kept out by the folder.
write() {
  if [ -e "$1" ]; then
    cat > /dev/null
    return
  fi
  cat > "$1"
  chmod 644 "$1"
}
# The letter in front: what consists of digits alone would be taken as a number.
random() { printf 'k%s' "$(head -c 24 /dev/urandom | od -An -tx1 | tr -d ' \n')"; }

for name in orthanc prometheus grafana postgres s3; do random | write "$name-password"; done
head -c 64 /dev/urandom | base64 | tr -d '\n' | write azure-key
# The key that encrypts what is stored, if you switch StorageEncryption on: 32 bytes. Keep a copy elsewhere.
head -c 32 /dev/urandom | base64 | write master-key

# What Orthanc's settings have inside of a longer text.
printf '{"orthanc": "%s", "prometheus": "%s"}\n' "$(cat orthanc-password)" "$(cat prometheus-password)" | write registered-users
printf 'DefaultEndpointsProtocol=http;AccountName=orthanc;AccountKey=%s;BlobEndpoint=http://azurite:10000/orthanc;\n' "$(cat azure-key)" | write azure-connection-string
echo "docker/secrets: the password of Orthanc's user \"orthanc\" is in orthanc-password, Grafana's user is \"admin\"."
