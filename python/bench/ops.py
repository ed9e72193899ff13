"""What a call of an operator costs, with and without autograd, beside PyTorch's own addition.

Usage: python python/bench/ops.py [CORE]

Two small tensors are added. Prints the least of rounds, since other work on the machine only adds,
in microseconds: without gradients, and of a forward and a backward pass. Needs PyTorch, and the
program urza in PATH.
"""
import os
import sys
import time

import torch

import urza

ROUNDS, CALLS = 300, 200


def least_us(function):
    times = []
    for _ in range(ROUNDS):
        began = time.perf_counter_ns()
        for _ in range(CALLS):
            function()
        times.append((time.perf_counter_ns() - began) / CALLS / 1e3)
    return min(times)


def main():
    os.sched_setaffinity(0, {int(sys.argv[1]) if len(sys.argv) > 1 else 0})
    torch.set_num_threads(1)
    x, y = (torch.randn(4, 8) for _ in range(2))
    learned, cotangent = x.clone().requires_grad_(), torch.ones(4, 8)
    compiled = urza.compile(Sum(), (x, y))
    module, run = compiled.package, torch.ops.urza.run.default
    kernel = module.kernel_id
    for name, function in [("addition", lambda x: x + y),
                           ("urza.Module", lambda x: module(x, y)),
                           ("urza.compile's module", lambda x: compiled(x, y)),
                           ("torch.ops.urza.run", lambda x: run(kernel, [x, y])[0])]:
        def step(function=function):
            torch.autograd.backward(function(learned), cotangent)
            learned.grad = None
        plain = least_us(lambda function=function: function(x))
        both = f"{least_us(step):8.2f}" if name != "urza.Module" else f"{'–':>8}"
        print(f"{name:24} {plain:8.2f} {both}")


class Sum(torch.nn.Module):
    def forward(self, x, y):
        return x + y


if __name__ == "__main__":
    main()
