"""What a call of a slot without a seed costs: the extension's, and that of urza.Slot.

Usage: python python/bench/slots.py [CORE]

Prints the median of rounds, in nanoseconds. Needs PyTorch.
"""
import os
import sys

import torch

import urza
from call import median_us
from urza import _urza


def main():
    os.sched_setaffinity(0, {int(sys.argv[1]) if len(sys.argv) > 1 else 0})
    slot, inner, h = urza.Slot(), _urza._Slot(), torch.randn(64, 16)
    forward, with_grad = inner.forward, h.clone().requires_grad_()
    for name, function in [("an empty function", lambda: None),
                           ("_Slot.forward", lambda: forward(0, h, (), None, None, True)),
                           ("urza.Slot", lambda: slot(h)),
                           ("urza.Slot, h requires grad", lambda: slot(with_grad))]:
        print(f"{name:27} {1e3 * median_us(function):7.0f} ns")


if __name__ == "__main__":
    main()
