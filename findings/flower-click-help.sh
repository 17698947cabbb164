#!/usr/bin/env bash
# Flower 1.42.0 beside click 8.5: the command line's arguments lose their help.
#
# One would guess: `pip install flwr` on a fresh machine gives a command line whose `--help` describes every argument, as
# its own source does.
# What happens: Flower keeps typer below 0.21 and admits click up to 9. pip takes the newest of both, typer 0.20.1 and click
# 8.5, and with these the text of every argument is missing from the help: names and "[required]" are left. Options keep
# theirs. With click 8.4 the same typer prints all of it. No error, no warning, and `pip check` is content.
# Why it matters: whoever installs Flower beside a program that uses typer changes that program's help too, and a test of
# its texts fails for no reason in sight. Keep click below 8.5 where Flower is.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3.11 -m venv "$folder/env"
pip="$folder/env/bin/pip --disable-pip-version-check"
$pip install -q flwr==1.42.0 click==8.5.1
"$folder/env/bin/python" -c 'from importlib.metadata import version as v; print(*(f"{n} {v(n)}" for n in ("flwr", "typer", "click", "rich")))'
new=$(COLUMNS=120 "$folder/env/bin/flwr" run --help)
grep -A4 Arguments <<<"$new"
$pip install -q click==8.4.2
old=$(COLUMNS=120 "$folder/env/bin/flwr" run --help)
echo "with click 8.4.2:"
grep -A4 Arguments <<<"$old"
if ! grep -q "Path of the Flower App" <<<"$new" && grep -q "Path of the Flower App" <<<"$old"; then
  echo "as described above"
else
  echo "this has changed"
  exit 1
fi
