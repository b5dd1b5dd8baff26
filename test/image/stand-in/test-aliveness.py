#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the official image's /probes/test-aliveness.py does: asks Orthanc for its last change, as the first of its users."""

import base64
import json
import urllib.request

with open("/tmp/orthanc.json") as file:
    configuration = json.load(file)
request = urllib.request.Request(f"http://localhost:{configuration.get('HttpPort', 8042)}/changes?last")
for user, password in configuration.get("RegisteredUsers", {}).items():
    token = base64.b64encode(f"{user}:{password}".encode()).decode()
    request.add_header("Authorization", f"Basic {token}")
    break
with urllib.request.urlopen(request, timeout=9) as answer:
    assert answer.status == 200
