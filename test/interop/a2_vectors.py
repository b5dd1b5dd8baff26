# SPDX-License-Identifier: GPL-3.0-or-later
"""a2_vectors.py FOLDER: writes the test vectors of test/fixtures/a2, with keys and nonces that anybody can derive."""
import base64
import hashlib
import json
import os
import sys

from a2 import encrypt


def sha(text):
    return hashlib.sha256(text.encode()).digest()


def vectors(folder):
    listed = []
    for number, size in enumerate([0, 1, 4095, 65535, 65536, 65537, 131072]):
        key_id = [1, 0xFFFFFFFF][number % 2]
        kek, seed, uuid = sha(f"a2-vector-key-{key_id}"), f"a2-vector-{size}", f"0a2b4c6d-1234-4abc-8def-{size:012d}"
        content = b"".join(sha(f"{seed}/{i}") for i in range((size + 31) // 32))[:size]
        dek, prefix, name = sha(f"{seed}-dek"), sha(f"{seed}-prefix")[:7], f"k{key_id}-{size}.a2"
        stored = encrypt(content, key_id, kek, uuid, number % 4, dek, prefix)
        with open(os.path.join(folder, f"key-{key_id}.b64"), "wb") as out:
            out.write(base64.b64encode(kek) + b"\n")
        with open(os.path.join(folder, name), "wb") as out:
            out.write(stored)
        listed.append(dict(file=name, keyId=key_id, uuid=uuid, contentType=number % 4, seed=seed, size=size, dek=dek.hex(),
                           prefix=prefix.hex(), plainSha256=hashlib.sha256(content).hexdigest(), encryptedSize=len(stored)))
    with open(os.path.join(folder, "manifest.json"), "w") as out:
        json.dump(dict(format="A2", generator="test/interop/a2_vectors.py", vectors=listed), out, indent=1)
        out.write("\n")


if __name__ == "__main__":
    vectors(sys.argv[1])
