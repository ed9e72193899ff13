"""The user's folders, where the command line has them: trusted keys and verified packages.

    $URZA_HOME, else $XDG_CONFIG_HOME/urza, else ~/.config/urza                 keys/
    $URZA_HOME/cache, else $XDG_CACHE_HOME/urza, else ~/.cache/urza             remote/packages/

A package in the folder is verified whenever it is read, so nothing rests on who wrote it.
"""
import os
import re
import tempfile
import weakref

from . import _urza

loaded = weakref.WeakValueDictionary()  # packages that this process has, by id; the newest of each
ID = re.compile(r"kernel-[0-9a-f]{64}")


def error(name, message, place=""):
    made = getattr(_urza, name)(f"{place}: {message}" if place else message)
    made.place = place
    return made


def _folder(inside, variable, fallback):
    own = os.environ.get("URZA_HOME")
    if own:
        return os.path.join(own, *inside)
    base = os.environ.get(variable)
    if not base:
        user = os.environ.get("HOME")
        if not user:
            return None
        base = os.path.join(user, fallback)
    return os.path.join(base, "urza")


def home():
    """The folder with keys; None: the environment names none."""
    return _folder((), "XDG_CONFIG_HOME", ".config")


def packages():
    """The folder with packages; None: the environment names none."""
    cache = _folder(("cache",), "XDG_CACHE_HOME", ".cache")
    return cache and os.path.join(cache, "remote", "packages")


def path_of(kernel_id):
    """Where a kernel's package is; NotFoundError."""
    folder = packages()
    path = folder and os.path.join(folder, f"{kernel_id}.urza")
    if path and os.path.exists(path):
        return path
    raise error("NotFoundError", "no package of this id is on this machine; load it from a file or "
                "by a client once", kernel_id)


def _place(folder, kernel_id, make):
    """Puts what make(path) makes into the folder, if possible: a full or read-only disk is no
    failure. Readers see all of it or nothing."""
    path = os.path.join(folder, f"{kernel_id}.urza")
    try:
        os.makedirs(folder, mode=0o700, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder, prefix=".new-") as inside:
            fresh = os.path.join(inside, "package")
            make(fresh)
            os.replace(fresh, path)
    except OSError:
        pass


def keep_link(kernel_id, path):
    """Leaves a link to a package that was loaded from a file, so that its id finds it."""
    folder = packages()
    if folder and not os.path.exists(os.path.join(folder, f"{kernel_id}.urza")):
        _place(folder, kernel_id, lambda fresh: os.symlink(os.path.abspath(path), fresh))


def keep_bytes(kernel_id, data):
    """Stores a package that came from a registry."""
    def write(fresh):
        with open(fresh, "xb") as file:
            file.write(data)
    folder = packages()
    if folder:
        _place(folder, kernel_id, write)
