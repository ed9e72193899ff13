#!/usr/bin/env python3
"""Makes libraries to link with that have no symbol newer than a version of glibc.

Usage: glibc_stubs.py VERSION FOLDER COMPILER...

FOLDER gets libc.so, libm.so, libpthread.so, libdl.so and librt.so: without code, but with the names
of this machine's C library at the versions that existed in VERSION. A program that is linked with
them asks for those, and runs with that version of the C library and all later ones; a name that is
newer is an error of the linker. Up to 2.33 a part of what is in libc now lay in libpthread, libdl
and librt: such names are in the stubs of these, so that the program asks for those libraries.
"""
import re
import subprocess
import sys
from pathlib import Path

# Value, size, type, binding, visibility, section, name@version or name@@version.
SYMBOL = re.compile(r"^\s*\d+: \S+\s+\S+ (\w+)\s+(?:GLOBAL|WEAK|UNIQUE)\s+DEFAULT\s+(\w+)\s+"
                    r"([^@\s]+)(@@?)(GLIBC_[\d.]+)", re.MULTILINE)
SONAMES = {"libc": "libc.so.6", "libm": "libm.so.6", "libpthread": "libpthread.so.0",
           "libdl": "libdl.so.2", "librt": "librt.so.1"}
MOVED = {(2, 32), (2, 33), (2, 34)}  # in these versions symbols came to libc from the others


def numbers(version):
    return tuple(int(part) for part in version.removeprefix("GLIBC_").split("."))


def symbols(path, newest):
    """{name: (version, type, whether it moved)}; the newest version of each that is old enough."""
    listed = subprocess.run(["readelf", "-W", "--dyn-syms", path], check=True, capture_output=True,
                            text=True).stdout
    found, now = {}, {}
    for kind, section, name, at, version in SYMBOL.findall(listed):
        if section == "UND":
            continue
        if at == "@@":
            now[name] = numbers(version)
        if numbers(version) <= newest and numbers(version) >= found.get(name, ((0,),))[0]:
            found[name] = (numbers(version), kind)
    return {name: (version, kind, now.get(name) in MOVED)
            for name, (version, kind) in found.items()}


def home_of(name):
    if name.startswith("dl"):
        return "libdl"
    if name.startswith(("shm_", "mq_", "aio_", "lio_", "timer_")):
        return "librt"
    return "libpthread"


def write_stub(folder, library, names, compiler):
    versions = sorted({version for version, _ in names.values()})
    lines = ["    .text"]
    for index, (name, (version, kind)) in enumerate(sorted(names.items())):
        text = "GLIBC_" + ".".join(map(str, version))
        form = {"OBJECT": "object", "TLS": "tls_object"}.get(kind, "function")
        if kind == "TLS":
            continue
        lines += [f"    .globl stub_{index}", f"    .type stub_{index}, @{form}",
                  f"stub_{index}:", "    .quad 0",
                  f"    .symver stub_{index}, {name}@@{text}, remove"]
    (folder / f"{library}.s").write_text("\n".join(lines) + "\n")
    script = "".join(f"GLIBC_{'.'.join(map(str, version))} {{}};\n" for version in versions)
    (folder / f"{library}.map").write_text(script)
    made = f"{library}-stub.so" if library == "libc" else f"{library}.so"
    subprocess.run([*compiler, "-shared", "-nostdlib", f"-Wl,-soname,{SONAMES[library]}",
                    f"-Wl,--version-script,{folder / library}.map", "-o", folder / made,
                    folder / f"{library}.s"], check=True)


def file_of(name, compiler):
    path = subprocess.run([*compiler, f"-print-file-name={name}"], check=True, capture_output=True,
                          text=True).stdout.strip()
    return Path(path).resolve()


def main():
    newest, folder, compiler = numbers(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:]
    folder.mkdir(parents=True, exist_ok=True)
    stubs = {library: {} for library in SONAMES}
    for name, (version, kind, moved) in symbols(file_of("libc.so.6", compiler), newest).items():
        stubs[home_of(name) if moved else "libc"][name] = (version, kind)
    for name, (version, kind, _) in symbols(file_of("libm.so.6", compiler), newest).items():
        stubs["libm"][name] = (version, kind)
    for library, names in stubs.items():
        write_stub(folder, library, names, compiler)
    rest = file_of("libc_nonshared.a", compiler)
    parts = " ".join(str(folder / f"{library}.so") for library in ("libpthread", "libdl", "librt"))
    (folder / "libc.so").write_text(
        f"GROUP({folder / 'libc-stub.so'} {rest} AS_NEEDED({parts}))\n")


if __name__ == "__main__":
    main()
