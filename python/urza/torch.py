"""The operators torch.ops.urza.…, which this module's import registers: docs/python.md has how
graphs of PyTorch call packages. A program that torch.export made of a network with a compiled
module needs no other import than this one to run."""
from . import _ops  # noqa: F401
