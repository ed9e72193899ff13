"""What the parent of a fork has used, in PyTorch's DataLoader: each worker is a fork of this
process, and calls a module, a compiled module and a slot that were called here before, and in which
another thread here was when it was forked. (Backward passes of PyTorch it refuses to make there.)
"""
import os
import threading
import unittest

import urza
from support import BUILD, ROOT, Case, sum_of_two
from test_training import layer

try:
    import torch
    from torch import nn
    from torch.utils.data import DataLoader, Dataset
except ImportError as missing:
    raise unittest.SkipTest("PyTorch is not installed (URZA_TEST_TORCH=1 installs it)") from missing

ITEMS = 24
NEAR = {"rtol": 1e-4, "atol": 1e-4}


class Items(Dataset):
    """Items that a function makes of their number; each says which process made it."""

    def __init__(self, make):
        self.make = make

    def __len__(self):
        return ITEMS

    def __getitem__(self, index):
        return index, self.make(index), os.getpid()


class Forks(Case):
    def from_workers(self, make, busy):
        """What workers make of each number, while another thread here is busy."""
        ended, before = threading.Event(), torch.get_num_threads()

        def keep_busy():
            while not ended.is_set():
                busy()
        thread = threading.Thread(target=keep_busy)
        torch.set_num_threads(1)  # a child has none of the parent's threads
        thread.start()
        try:
            loader = DataLoader(Items(make), batch_size=3, num_workers=2, timeout=60,
                                multiprocessing_context="fork")
            batches = list(loader)
        finally:
            ended.set()
            thread.join()
            torch.set_num_threads(before)
        workers = {int(pid) for _, _, pids in batches for pid in pids}
        self.assertEqual((len(workers), os.getpid() in workers), (2, False))
        return {int(i): made for numbers, all_made, _ in batches
                for i, made in zip(numbers, all_made, strict=True)}

    def test_module(self):
        add = urza.load(self.compile("add", sum_of_two()), threads=2)
        y = torch.ones(5, 8)
        add(y, y)
        made = self.from_workers(lambda i: add(torch.full((5, 8), float(i)), y),
                                 lambda: add(y, y))
        for i in range(ITEMS):
            self.assertTrue(torch.equal(made[i], torch.full((5, 8), i + 1.0)))

    def test_training(self):
        """Tapes, of which the parent holds one while it is forked."""
        module = urza.load(self.compile("layer", layer(), "--backward"), threads=2)
        w, b = torch.randn(8, 6), torch.randn(8)
        _, held = module.forward_train(torch.ones(3, 6), params=[w, b])

        def slope(i):
            x = torch.full((2, 6), i / ITEMS)
            _, tape = module.forward_train(x, params=[w, b])
            return tape.backward(torch.ones(2, 8), None, wrt=["x"])["x"]
        made = self.from_workers(slope, lambda: slope(3))
        for i in range(ITEMS):
            x = torch.full((2, 6), i / ITEMS, requires_grad=True)
            torch.tanh(x @ w.T + b).sum().backward()
            torch.testing.assert_close(made[i], x.grad, **NEAR)
        self.assertEqual(held.backward(torch.ones(3, 8), None, wrt=["b"])["b"].shape, (8,))

    def test_compiled_module(self):
        """Its results, with gradients on and off."""
        path = os.environ["PATH"]
        self.addCleanup(os.environ.__setitem__, "PATH", path)
        os.environ["PATH"] = f"{BUILD.resolve()}{os.pathsep}{path}"
        model = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 3))
        fast = urza.compile(model, (torch.randn(4, 6),))
        fast(torch.randn(4, 6)).sum().backward()

        def both(i, module=fast):
            x = torch.linspace(-1, i, 24).reshape(4, 6)
            with torch.no_grad():
                y = module(x)
            recorded = module(x.requires_grad_())
            return torch.stack([y, recorded.detach()])

        def busy():
            with torch.no_grad():
                fast(torch.ones(4, 6))
        made = self.from_workers(both, busy)
        for i in range(ITEMS):
            torch.testing.assert_close(made[i], both(i, model), **NEAR)

    def test_slot(self):
        """A slot that holds a seed; workers tick it for themselves."""
        seed = self.compile("seed", ROOT / "examples" / "seed.json", "--graft", "residual",
                            "--backward")
        slot = urza.Slot(name="one", train_ticks=2, blend_ticks=2)
        slot.plant(seed, name="tanh", init=None)
        for _ in range(40):
            slot(torch.randn(4, 16).requires_grad_()).sum().backward()
            if slot.tick() == "HOLDING":
                break
        w1, b1, w2, b2 = (p.detach() for p in slot.parameters())
        slot.zero_grad()

        def both(i, call=slot):
            h = torch.linspace(-1, i / ITEMS, 64).reshape(4, 16)
            with torch.no_grad():
                y = call(h)
            recorded = call(h.requires_grad_())
            return torch.stack([y, recorded.detach()])

        def in_worker(i):
            made = both(i)
            slot.tick()
            return made

        def busy():
            with torch.no_grad():
                slot(torch.ones(4, 16))
        made = self.from_workers(in_worker, busy)
        for i in range(ITEMS):
            expected = both(i, lambda h: h + torch.tanh(h @ w1.T + b1) @ w2.T + b2)
            torch.testing.assert_close(made[i], expected, **NEAR)
        self.assertEqual(slot.state, "HOLDING")
        slot(torch.ones(4, 16).requires_grad_()).sum().backward()

if __name__ == "__main__":
    unittest.main()
