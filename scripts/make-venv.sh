#!/bin/sh
# Makes a virtual environment: make-venv.sh PYTHON FOLDER.
# Debian and Ubuntu ship Python without the part that makes one (python3-venv); as root we add it, else we say so.
set -eu
python=$1 venv=$2
if "$python" -m venv "$venv" >/dev/null 2>&1; then exit 0; fi
rm -rf "$venv"
version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    echo "adding python$version-venv, which Debian keeps apart from Python" >&2
    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "python$version-venv" >/dev/null
    "$python" -m venv "$venv"
else
    echo "cannot make a virtual environment: install python$version-venv (sudo apt-get install python$version-venv), then run make again" >&2
    exit 1
fi
