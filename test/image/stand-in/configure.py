#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""How orthancteam/orthanc 26.8.1 makes Orthanc's configuration of files, variables and secrets, in this project's own words.

Tests run this where the official image cannot be had. It says what the official image does with what this project gives it, and
leaves out what it does with the rest (names of variables from before 2020, viewers).
"""

import argparse
import glob
import json
import os
import re
import shutil
import sys

DEFAULTS = {
    "StorageDirectory": "/var/lib/orthanc/db",
    "RemoteAccessAllowed": True,
    "AuthenticationEnabled": True,
    "HttpsCACertificates": "/etc/ssl/certs/ca-certificates.crt",
    "Plugins": ["/run/orthanc/plugins", "/usr/share/orthanc/plugins"],
}

# Variables whose words do not make the setting's name.
NAMES = {
    "ORTHANC__CASE_SENSITIVE_PN": ["CaseSensitivePN"],
    "ORTHANC__HTTPS_CA_CERTIFICATES": ["HttpsCACertificates"],
    "ORTHANC__STORE_MD5_FOR_ATTACHMENTS": ["StoreMD5ForAttachments"],
}
SECTIONS = {"POSTGRESQL": "PostgreSQL", "MYSQL": "MySQL", "OHIF": "OHIF"}


def setting_of(variable):
    """ORTHANC__AWS_S3_STORAGE__BUCKET_NAME -> ["AwsS3Storage", "BucketName"]"""
    if variable in NAMES:
        return NAMES[variable]
    parts = variable.removeprefix("ORTHANC__").split("__")
    words = lambda part: "".join(word[:1] + word[1:].lower() for word in part.split("_"))
    return [SECTIONS.get(part, words(part)) if place == 0 else words(part) for place, part in enumerate(parts)]


def value_of(text):
    """A value that is JSON is taken as JSON: numbers, true, lists. Anything else is a text."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def merge(into, more, overwrite=True):
    """Sections become one; of two values, the later one wins."""
    for key, value in more.items():
        if key in into and isinstance(value, dict):
            merge(into[key], value, overwrite)
        elif overwrite or key not in into:
            into[key] = value


def put(configuration, variable, text):
    setting = value_of(text)
    for name in reversed(setting_of(variable)):
        setting = {name: setting}
    merge(configuration, setting)


def read_file(path):
    """A file of configuration: variables in it are replaced, comments left out."""
    with open(path) as file:
        text = re.sub(r"\$\{(\w+)\}", lambda match: os.environ.get(match[1], ""), file.read())
    without_comments = re.sub(
        r'"(?:\\.|[^\\"])*"|//[^\n]*|/\*.*?\*/',
        lambda match: match[0] if match[0].startswith('"') else " ",
        text,
        flags=re.DOTALL,
    )
    return json.loads(without_comments)


def configure(places):
    configuration = {}
    for path in glob.glob(f"{places.etc}/*.json") + glob.glob(f"{places.secrets}/*.json"):
        merge(configuration, read_file(path))

    # Which file has the value of which variable. The official image does so with each variable that ends in _SECRET,
    # and prints both with VERBOSE_STARTUP.
    files = {}
    for variable, text in os.environ.items():
        if variable.endswith("_SECRET"):
            files[text] = variable.removesuffix("_SECRET")
            if os.environ.get("VERBOSE_STARTUP") in ("", "true"):
                print(f"secret-key-file: {variable.removesuffix('_SECRET')} / {text}")
        elif variable == "ORTHANC_JSON":
            merge(configuration, json.loads(text))
        elif variable.startswith("ORTHANC__"):
            put(configuration, variable, text)

    for path in glob.glob(f"{places.secrets}/*"):
        name = os.path.basename(path)
        variable = files.get(name, name)
        if os.path.isfile(path) and variable.startswith("ORTHANC__"):
            with open(path) as file:
                put(configuration, variable, file.read().rstrip("\n"))

    merge(configuration, DEFAULTS, overwrite=False)
    plugins = {}
    for path in glob.glob(f"{places.startup}/plugins-def*.json"):
        with open(path) as file:
            plugins.update(json.load(file))
    for name, plugin in plugins.items():
        if is_enabled(name, plugin, configuration):
            if "nonStandardDefaults" in plugin:
                merge(configuration, {plugin.get("section", name): plugin["nonStandardDefaults"]}, overwrite=False)
            for library in plugin["libs"]:
                install(library, places)

    password = os.environ.get("ORTHANC_PASSWORD")
    if password:
        configuration.setdefault("RegisteredUsers", {})["orthanc"] = password
    needs_user = configuration["RemoteAccessAllowed"] and configuration["AuthenticationEnabled"]
    if needs_user and not configuration.get("RegisteredUsers"):
        sys.exit("ERROR: HTTP authentication is enabled, but no user is declared")
    return configuration


def is_enabled(name, plugin, configuration):
    """Its section enables a plugin, or its variable; "false" forbids it."""
    wish = os.environ.get(plugin["enablingEnvVar"])
    return wish != "false" and (wish is not None or plugin.get("section", name) in configuration)


def install(library, places):
    source = os.path.join(places.available, library)
    folder = places.mounted if os.path.isdir(places.mounted) else places.plugins
    target = os.path.join(folder, library)
    if os.path.isfile(target):
        return  # a container that starts again
    try:
        os.link(source, target)
    except OSError as error:
        if not os.path.isfile(source):
            sys.exit(f"ERROR: failed to install {library} file: {error}")
        shutil.copy(source, target)  # a volume is another file system


def main():
    parser = argparse.ArgumentParser()
    for name, folder in {
        "etc": "/etc/orthanc",
        "secrets": "/run/secrets",
        "startup": "/startup",
        "available": "/usr/share/orthanc/plugins-available",
        "plugins": "/usr/share/orthanc/plugins",
        "mounted": "/run/orthanc/plugins",
        "output": "/tmp/orthanc.json",
    }.items():
        parser.add_argument(f"--{name}", default=folder)
    places = parser.parse_args()
    configuration = configure(places)
    with open(places.output, "w") as file:
        json.dump(configuration, file, indent=2)


main()
