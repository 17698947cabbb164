#!/usr/bin/env bash
# Flower 1.42.0: an app's reference `module:name` where the module imports the name from another file.
#
# One would guess: `serverapp = "demo.server:app"` holds if `from demo.server import app` works, as entry points and
# `uvicorn module:name` have it, and as the message says ("the module needs to have the specified attribute").
# What happens: `flwr build` (and with it `flwr run`) reads the file's text and accepts a name that the file assigns. A name
# that it imports is refused as missing, though Python imports it. `app = server` in the same file passes.
# Why it matters: an app that keeps its parts in a library of its own (made and tested there, imported by a file of two
# lines) is refused with a message that sends one looking for a wrong PYTHONPATH. Assign the name in that file.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3.11 -m venv "$folder/env"
"$folder/env/bin/pip" install -q --disable-pip-version-check flwr==1.42.0
export FLWR_TELEMETRY_ENABLED=0 FLWR_HOME="$folder/home"
mkdir -p "$folder/app/demo"
cd "$folder/app"
cat >pyproject.toml <<'TOML'
[project]
name = "demo"
version = "1.0.0"
description = ""
license = "Apache-2.0"
dependencies = ["flwr>=1.41"]

[tool.flwr.app]
publisher = "somebody"

[tool.flwr.app.components]
serverapp = "demo.server:app"
clientapp = "demo.client:app"

[tool.flwr.app.config]
TOML
touch demo/__init__.py
printf 'from flwr.clientapp import ClientApp\nfrom flwr.serverapp import ServerApp\n\nclient, server = ClientApp(), ServerApp()\n' >demo/made.py
for side in client server; do echo "from demo.made import $side as app" >"demo/$side.py"; done
"$folder/env/bin/python" -c '
from importlib.metadata import version
from demo.client import app as client
from demo.server import app as server
print("flwr", version("flwr"), "python imports:", type(client).__name__, type(server).__name__)'
imported=0 assigned=0
"$folder/env/bin/flwr" build >imported.txt 2>&1 || imported=$?
for side in client server; do printf 'from demo.made import %s\n\napp = %s\n' "$side" "$side" >"demo/$side.py"; done
"$folder/env/bin/flwr" build >assigned.txt 2>&1 || assigned=$?
echo "name imported: flwr build ends with $imported"
head -12 imported.txt
echo "name assigned: flwr build ends with $assigned"
if [ "$imported" -ne 0 ] && grep -q "needs to have the" imported.txt && [ "$assigned" -eq 0 ]; then
  echo "as described above"
else
  echo "this has changed"
  exit 1
fi
