#!/bin/sh
# The agent's own tests on the Pythons of the boards, each in an environment of its own: test_agent.sh python3.10 ...
# One that is not installed is named, and is no failure: what this machine cannot try is in docs/test-full.md.
set -eu
tried="" status=0
for python in "$@"; do
    if ! "$python" -c "" 2>/dev/null; then
        echo "agent: $python is not installed here: not tried"
        continue
    fi
    env="build/agent-$python"
    echo "agent: tests on $("$python" --version), in $env"
    "$python" -m venv "$env"
    PIP_DISABLE_PIP_VERSION_CHECK=1 "$env/bin/pip" install -q -e "device_agents[onnx,litert,openvino,image,text,http]" \
        pytest pytest-timeout hypothesis onnx
    ended="" # a failure keeps no other Python from its turn
    "$env/bin/python" -m pytest -q tests/unit/agent || { status=$?; ended="(failed)"; }
    tried="$tried $("$python" -c 'import platform; print(platform.python_version())')$ended"
done
mkdir -p build
echo "$tried" >build/agent-tried
exit "$status"
