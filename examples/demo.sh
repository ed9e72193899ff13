#!/bin/bash
# Compiles every example for all targets, verifies each package against the float64 reference, and
# runs it in a program that links the runtime library only. Called by `./run demo`.
set -euo pipefail
cd "$(dirname "$0")/.."
build=${URZA_BUILD_DIR:-build}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export URZA_HOME=$work/home # the demo's key stays out of the user's folder

"$build/demo" "$build" examples "$work"

cat <<'END'

kernels    of one target; compiling is the sum over all targets
one call   one thread, typical sizes; taken: memory for temporaries, in all: without reuse
error      the largest difference from the float64 reference in any run, over its error bound

END
echo "The program that ran the packages needs these libraries, no compiler among them:"
ldd "$build/runner"
if ldd "$build/runner" | grep -qi llvm; then
    echo "demo: the runtime library links LLVM" >&2
    exit 1
fi
strip -o "$work/runtime.so" "$build/src/liburza_runtime.so"
echo
echo "liburza_runtime.so, stripped: $(stat -c %s "$work/runtime.so") bytes"
