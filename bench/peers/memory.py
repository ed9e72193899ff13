#!/usr/bin/env python3
"""The memory of a training step, forward_train and backward, beside PyTorch eager's.

Usage: memory.py BLUEPRINT[:DIMS]...

Ours is what `urza inspect --memory --backward` says: the arena, which holds what is saved and all
that lives for less, and scratch memory of one thread. PyTorch's is the most bytes of storages that
were made in the step and are alive behind one operation, counted through a dispatch mode; what an
operation allocates and frees inside is not seen, so the figure is at least that. Outputs and
gradients of a block count for neither: both have them. Parameters and inputs were there before.
The program is $URZA, else build/urza.
"""

import argparse
import json
import tempfile
from pathlib import Path

import numpy as np
import torch
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from backward import Torch, compile_step, urza


class Alive(TorchDispatchMode):
    """Storages made while the mode is on: their sizes, and the numbers alive behind each op."""

    def __init__(self):
        super().__init__()
        self.made = {}  # by the storage's C++ object, while it is alive
        self.sizes = []
        self.moments = []  # sets of numbers

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        before = {x.untyped_storage()._cdata for x in tree_leaves((args, kwargs))
                  if isinstance(x, torch.Tensor)}
        results = function(*args, **(kwargs or {}))
        for x in tree_leaves(results):
            if not isinstance(x, torch.Tensor):
                continue
            storage = x.untyped_storage()
            key = storage._cdata
            known = key in self.made and not self.made[key][0].expired()
            if key not in before and not known:
                self.made[key] = (StorageWeakRef(storage), len(self.sizes))
                self.sizes.append(storage.nbytes())
        self.made = {k: v for k, v in self.made.items() if not v[0].expired()}
        self.moments.append(frozenset(n for _, n in self.made.values()))
        return results

    def number(self, tensor):
        entry = self.made.get(tensor.untyped_storage()._cdata)
        return entry and entry[1]

    def most(self, without):
        return max(sum(self.sizes[n] for n in moment - without) for moment in self.moments)


def theirs(model, inputs):
    peer = Torch(model, inputs, False)
    peer.cotangents = [torch.randn_like(y) for y in peer.outputs]
    peer.step()
    del peer.outputs
    with Alive() as alive:
        outputs = peer.call(*peer.inputs)
        outputs = list(outputs) if isinstance(outputs, (list, tuple)) else [outputs]
        behind = len(alive.moments)
        gradients = torch.autograd.grad(outputs, peer.leaves, peer.cotangents, allow_unused=True)
    kept = {alive.number(t) for t in outputs + [g for g in gradients if g is not None]}
    saved = sum(alive.sizes[n] for n in alive.moments[behind - 1] - kept)
    return alive.most(kept), saved


def measure(blueprint, dims):
    with tempfile.TemporaryDirectory() as folder:
        package, model = compile_step(blueprint, folder)
        sizes = ["--dims", dims] if dims else []
        ours = json.loads(urza("inspect", package, "--memory", "--backward", "--json", *sizes))
        urza("run", package, "--backward", "--random", "1", *sizes, "--out", folder)
        shapes = [np.load(f"{folder}/grad.{name}.npy").shape for name in model.inputs]
        rng = np.random.default_rng(1)
        inputs = [rng.standard_normal(shape, dtype=np.float32) for shape in shapes]
        return ours, *theirs(model, inputs)


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("blueprints", nargs="+")
    torch.set_num_threads(1)
    print("| block | dims | ours, MB: bound | peak | scratch | saved | eager: peak | saved |"
          " ours / eager |")
    print("| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
    for text in parser.parse_args().blueprints:
        blueprint, _, dims = text.partition(":")
        ours, peak, saved = measure(blueprint, dims)
        sizes = [ours["bound_bytes"], ours["peak_bytes"], ours["scratch_bytes"],
                 ours["saved_bytes"], peak, saved]
        shown = " | ".join(f"{size / 1e6:.3f}" for size in sizes)
        ratio = (ours["peak_bytes"] + ours["scratch_bytes"]) / peak
        print(f"| {Path(blueprint).stem} | {', '.join(f'{k}={v}' for k, v in ours['dims'].items())}"
              f" | {shown} | {ratio:.2f} |", flush=True)


if __name__ == "__main__":
    main()
