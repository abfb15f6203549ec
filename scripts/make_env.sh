#!/bin/sh
# Make the environment in $VENV: torch first (by exact pin), then everything else, from constraints.txt.
# Can be repeated, and recovers from an interrupted install: the stamp is written last.
set -eu
PYTHON=${PYTHON:-python3.11} VENV=${VENV:-.venv} STAMP=${STAMP:-.venv/.installed}
command -v "$PYTHON" >/dev/null || { echo "error: $PYTHON not found; install Python 3.11 or say PYTHON=python3.12 make env" >&2; exit 4; }
if ! "$VENV/bin/python" -m pip --version >/dev/null 2>&1; then
    echo "env: new environment in $VENV ($("$PYTHON" --version))"
    rm -rf "$VENV"
    "$PYTHON" -m venv "$VENV"
fi
rm -f "$VENV"/.installed*
# build backends warn at length of every editable install: what fails still says so
pip() { PYTHONWARNINGS=ignore PIP_DISABLE_PIP_VERSION_CHECK=1 "$VENV/bin/python" -m pip "$@"; }
torch=$(grep '^torch==' constraints.txt)
echo "env: installing pip, then $torch (0.2 GB for the CPU build, 3 GB with CUDA)"
pip install -q "pip>=26" # --group needs 25.1
pip install -q "$torch"
echo "env: installing edgeglm[onnx,tflite,openvino,hf,detection,fleet], edgeglm-agent and the test tools (about 2.5 GB)"
pip install -q -c constraints.txt -e "device_agents[onnx,litert,openvino,image,text,camera,http]" -e ".[onnx,tflite,openvino,hf,detection,fleet]" --group dev
echo "env: installing the oldest runtimes that manifests name, for the tests, in $VENV/least-runtimes (250 MB)"
least=$("$VENV/bin/python" -c '
from edgeglm.boards import LEAST_RUNTIMES as least
packages = {"onnx": "onnxruntime", "tflite": "ai-edge-litert", "openvino": "openvino"}
print(*(f"{package}=={least[kind].least_version}" for kind, package in packages.items()))')
# shellcheck disable=SC2086 - three requirements
pip install -q --no-deps --upgrade --target "$VENV/least-runtimes" $least
pip check
touch "$STAMP"
echo "env: ready; the command is $VENV/bin/edgeglm"
