"""python -m urza: the command line, which is a program of its own."""
import os
import shutil
import sys


def main():
    program = shutil.which("urza")
    if not program:
        sys.exit("python -m urza: there is no program 'urza' in the folders of PATH. It compiles "
                 "what this package runs: build it from its source with './run build', and put "
                 "build/urza where your shell looks.")
    os.execv(program, [program, *sys.argv[1:]])


if __name__ == "__main__":
    main()
