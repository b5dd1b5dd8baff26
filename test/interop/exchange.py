# SPDX-License-Identifier: GPL-3.0-or-later
"""exchange.py FOLDER: decrypts what FOLDER/cases.json lists, and encrypts the contents again.

For each case: NAME.object is read and its content written to NAME.decrypted; NAME.content is read and encrypted to NAME.encrypted.
"""
import json
import os
import sys

import a1
import a2


def main(folder):
    with open(os.path.join(folder, "cases.json"), encoding="utf-8") as source:
        cases = json.load(source)
    for case in cases:
        name, key_id, kek = case["name"], case["keyId"], bytes.fromhex(case["kek"])
        extra = () if case["format"] == "A1" else (case["uuid"], case["contentType"])
        module = {"A1": a1, "A2": a2}[case["format"]]
        write(folder, f"{name}.decrypted", module.decrypt(read(folder, f"{name}.object"), key_id, kek, *extra))
        write(folder, f"{name}.encrypted", module.encrypt(read(folder, f"{name}.content"), key_id, kek, *extra))


def read(folder, name):
    with open(os.path.join(folder, name), "rb") as source:
        return source.read()


def write(folder, name, content):
    with open(os.path.join(folder, name), "wb") as target:
        target.write(content)


if __name__ == "__main__":
    main(sys.argv[1])
