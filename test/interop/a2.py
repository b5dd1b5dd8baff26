# SPDX-License-Identifier: GPL-3.0-or-later
"""A2 by itself, from docs/format-a2.md: a second implementation, which shares nothing with src/encryption.

  a2.py encrypt KEY_ID KEY_FILE UUID TYPE < content > object        (TYPE: 0 Unknown, 1 Dicom, 2 DicomAsJson, 3 header)
  a2.py decrypt KEY_ID KEY_FILE UUID TYPE < object > content
"""
import base64
import os
import struct
import sys

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.keywrap import InvalidUnwrap, aes_key_unwrap, aes_key_wrap

SEGMENT, TAG, HEADER = 65536, 16, 53


class Refused(Exception):
    pass


def associated_data(header, uuid, content_type):
    return header + uuid.encode("ascii") + struct.pack("<H", content_type)


def nonce(header, index, is_last):
    return header[6:13] + struct.pack(">I", index) + bytes([is_last])


def encrypt(content, key_id, kek, uuid, content_type, dek=None, prefix=None):
    dek, prefix = dek or os.urandom(32), prefix or os.urandom(7)
    header = b"A2" + struct.pack("<I", key_id) + prefix + aes_key_wrap(kek, dek)
    data = associated_data(header, uuid, content_type)
    segments = [content[at : at + SEGMENT] for at in range(0, len(content), SEGMENT)] or [b""]
    last = len(segments) - 1
    return header + b"".join(
        AESGCM(dek).encrypt(nonce(header, i, i == last), segment, data) for i, segment in enumerate(segments)
    )


def decrypt(stored, key_id, kek, uuid, content_type):
    header, sealed = stored[:HEADER], stored[HEADER:]
    if header[:2] != b"A2" or len(sealed) < TAG:
        raise Refused("no A2 object")
    if struct.unpack("<I", header[2:6])[0] != key_id:
        raise Refused("encrypted with another master key")
    data = associated_data(header, uuid, content_type)
    segments = [sealed[at : at + SEGMENT + TAG] for at in range(0, len(sealed), SEGMENT + TAG)]
    if len(segments) > 1 and len(segments[-1]) <= TAG:
        raise Refused("an empty last segment")
    last = len(segments) - 1
    try:
        cipher = AESGCM(aes_key_unwrap(kek, header[13:]))
        return b"".join(cipher.decrypt(nonce(header, i, i == last), s, data) for i, s in enumerate(segments))
    except (InvalidTag, InvalidUnwrap, ValueError):
        raise Refused("not authentic") from None


if __name__ == "__main__":
    action, key_id, key_file, uuid, content_type = sys.argv[1:]
    kek = base64.b64decode(open(key_file, "rb").read())
    try:
        run = {"encrypt": encrypt, "decrypt": decrypt}[action]
        sys.stdout.buffer.write(run(sys.stdin.buffer.read(), int(key_id), kek, uuid, int(content_type)))
    except Refused as reason:
        sys.exit(f"refused: {reason}")
