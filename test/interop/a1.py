# SPDX-License-Identifier: GPL-3.0-or-later
"""A1 by itself, as the documentation of the C++ plugins describes it; shares nothing with src/encryption."""
import os
import struct

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

HEADER = 70


def mask(kek, value):
    """AES-256-CTR from a counter block of zeros: encrypts and decrypts."""
    return Cipher(algorithms.AES(kek), modes.CTR(bytes(16))).encryptor().update(value)


def encrypt(content, key_id, kek):
    iv, dek = os.urandom(32), os.urandom(32)
    header = b"A1" + struct.pack("<I", key_id) + mask(kek, iv) + mask(kek, dek)
    return header + AESGCM(dek).encrypt(iv, content, header)


def decrypt(stored, key_id, kek):
    header = stored[:HEADER]
    if header[:2] != b"A1" or struct.unpack("<I", header[2:6])[0] != key_id:
        raise ValueError("no A1 object of this key")
    iv, dek = mask(kek, header[6:38]), mask(kek, header[38:70])
    return AESGCM(dek).decrypt(iv, stored[HEADER:], header)
