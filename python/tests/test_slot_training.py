"""urza.Slot in a training: optimizers, losses, urza.Governor, copies and pickles."""
import copy
import io
import pickle
import unittest

import urza
from support import ROOT, Case

try:
    import torch
    from torch import nn
except ImportError as missing:
    raise unittest.SkipTest("PyTorch is not installed (URZA_TEST_TORCH=1 installs it)") from missing

OPTIONS = {"train_ticks": 3, "blend_ticks": 6}


class Host(nn.Module):
    def __init__(self, **options):
        super().__init__()
        self.first, self.last = nn.Linear(16, 16), nn.Linear(16, 4)
        self.slot = urza.Slot(name="one", **{**OPTIONS, **options})

    def forward(self, x):
        return self.last(self.slot(self.first(x)))


class Data(torch.utils.data.Dataset):
    """What a worker of a DataLoader runs has a slot in it."""

    def __init__(self, model, x):
        self.model, self.x = model, x

    def __len__(self):
        return len(self.x)

    def __getitem__(self, i):
        with torch.no_grad():
            return self.model(self.x[i:i + 1])[0]


class Training(Case):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        source = ROOT / "examples" / "seed.json"
        cls.package = cls.compile("seed", source, "--graft", "residual", "--backward")
        torch.manual_seed(11)
        cls.x, cls.target = torch.randn(32, 16), torch.randn(32, 4)

    def host(self, planted=True, **options):
        torch.manual_seed(12)
        host = Host(**options)
        if planted:
            host.slot.plant(self.package, name="tanh", init="lora")
        return host

    def step(self, host, optimizer):
        loss = nn.functional.mse_loss(host(self.x), self.target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return float(loss.detach()), host.slot.tick()

    # Optimizers.

    def test_groups_come_and_go(self):
        host = self.host(planted=False)
        optimizer = torch.optim.AdamW(host.parameters(), lr=0.01)
        host.slot.attach(optimizer, lr=0.5, weight_decay=0.25)
        self.assertEqual(len(optimizer.param_groups), 1)
        host.slot.plant(self.package, name="tanh")
        seed = list(host.slot.parameters())
        own, group = optimizer.param_groups
        self.assertEqual([group["lr"], group["weight_decay"], own["lr"]], [0.5, 0.25, 0.01])
        self.assertTrue(all(a is b for a, b in zip(group["params"], seed, strict=True)))
        for _ in range(3):
            self.step(host, optimizer)
        self.assertTrue(all(p in optimizer.state for p in seed))
        host.slot.command("prune")
        host.slot.tick()
        self.assertEqual(len(optimizer.param_groups), 1)
        self.assertIs(optimizer.param_groups[0], own)
        self.assertFalse(any(p in optimizer.state for p in seed))
        self.assertTrue(all(p in optimizer.state for p in own["params"]))
        while host.slot.state != "DORMANT":
            self.step(host, optimizer)
        host.slot.plant(self.package, name="tanh")
        self.assertEqual(len(optimizer.param_groups), 2)
        host.slot.attach(None)
        self.assertEqual(len(optimizer.param_groups), 1)
        host.slot.attach(optimizer)  # also with the seed there
        self.assertEqual(len(optimizer.param_groups), 2)
        for words, error in [({"lrr": 1}, TypeError), ({"warmup": -1}, ValueError),
                             ({"warmup": 1.5}, ValueError)]:
            with self.assertRaises(error):
                host.slot.attach(optimizer, **words)

    def test_the_same_as_by_hand(self):
        """A group by attach trains as one that is added by hand."""
        hosts = [self.host() for _ in range(2)]
        optimizers = [torch.optim.Adam([*host.first.parameters(), *host.last.parameters()], lr=0.01)
                      for host in hosts]
        hosts[0].slot.attach(optimizers[0], lr=0.02)
        optimizers[1].add_param_group({"params": list(hosts[1].slot.parameters()), "lr": 0.02})
        for _ in range(30):
            self.assertEqual(*(self.step(*both) for both in zip(hosts, optimizers, strict=True)))
        self.assertEqual(hosts[0].slot.state, "HOLDING")

    def test_warm_up(self):
        host = self.host()
        optimizer = torch.optim.SGD(host.first.parameters(), lr=0.01)
        host.slot.attach(optimizer, lr=0.8, warmup=4)
        rates = []
        for _ in range(8):
            state = host.slot.state
            rates.append((state, optimizer.param_groups[1]["lr"]))
            self.step(host, optimizer)
        learning = [lr for state, lr in rates if state != "GERMINATED"]
        self.assertEqual(rates[0], ("GERMINATED", 0.2))
        self.assertEqual(learning, [0.2, 0.4, 0.6000000000000001, 0.8, 0.8, 0.8, 0.8])

    def test_saved_in_another_process(self):
        """Weights, slot, optimizer and warm-up: the same bits as without the break."""
        script = """
import sys, torch
sys.path.insert(0, sys.argv[4])
from test_slot_training import Host, Training
Training.package = sys.argv[1]
Training.x, Training.target = torch.load(sys.argv[3])
case = Training()
host = case.host()
optimizer = torch.optim.Adam([*host.first.parameters(), *host.last.parameters()], lr=0.01)
host.slot.attach(optimizer, lr=0.03, warmup=9)
saved = torch.load(sys.argv[2], weights_only=True)
host.load_state_dict(saved["host"])
optimizer.load_state_dict(saved["optimizer"])
print([case.step(host, optimizer) for _ in range(20)])
"""
        host = self.host()
        optimizer = torch.optim.Adam([*host.first.parameters(), *host.last.parameters()], lr=0.01)
        host.slot.attach(optimizer, lr=0.03, warmup=9)
        for _ in range(6):
            self.step(host, optimizer)
        self.assertEqual(host.slot.state, "BLENDING")
        torch.save({"host": host.state_dict(), "optimizer": optimizer.state_dict()},
                   self.folder / "saved.pt")
        torch.save((self.x, self.target), self.folder / "data.pt")
        said = self.python(script, self.package, self.folder / "saved.pt", self.folder / "data.pt",
                           ROOT / "python" / "tests")
        self.assertEqual(said.strip(), str([self.step(host, optimizer) for _ in range(20)]))
        self.assertEqual(host.slot.state, "HOLDING")

    def test_another_object_under_the_name(self):
        host = self.host()
        optimizer = torch.optim.SGD(host.parameters(), lr=0.01)
        while host.slot.state != "HOLDING":
            self.step(host, optimizer)
        other = {name: value.clone() if isinstance(value, torch.Tensor) else value
                 for name, value in host.state_dict().items()}
        other["slot.seeds.tanh.w2"] += 1
        host.load_state_dict(other, assign=True)
        seed = host.slot.seeds["tanh"]
        h = torch.randn(4, 16)
        with torch.no_grad():
            s = torch.tanh(h @ seed.w1.T + seed.b1) @ seed.w2.T + seed.b2
            torch.testing.assert_close(host.slot(h), h + s, rtol=1e-4, atol=1e-4)

    # What a tick is told.

    def test_losses_of_rows_tell_the_gain(self):
        slot = urza.Slot(name="one", hold_ticks=2, gain=0.5, **OPTIONS)
        slot.plant(self.package, init="lora")
        factors = torch.tensor([1.0, 1.0, 0.0, 1.0])
        h = torch.randn(4, 16)
        def call(rows, factors=factors):
            given = None if factors is None else factors.clone()
            slot(h.clone().requires_grad_(), factors=given).sum().backward()
            if given is not None:
                given.zero_()  # it is the host's, to use for something else
            return slot.tick(loss=rows)
        while slot.state != "HOLDING":
            call(torch.ones(4))
        rows = torch.tensor([1.0, 2.0, 2.4, 3.0])  # 2.4 less the mean of the others is 0.4
        for _ in range(4):
            self.assertEqual(call(rows), "HOLDING")
        rows[2] = 2.5
        self.assertEqual([call(rows), call(rows)], ["HOLDING", "FOSSILIZED"])
        with self.assertRaisesRegex(ValueError, "factors"):
            call(torch.ones(3))
        with self.assertRaisesRegex(ValueError, "factors"):
            call(torch.ones(4), None)
        with self.assertRaisesRegex(TypeError, "gain"):
            slot.tick(loss=torch.ones(4), gain=1.0)

    def test_a_loss_that_explodes_prunes(self):
        for bad, ticks in ((float("nan"), 1), (1e6, 3)):
            host = self.host()
            optimizer = torch.optim.SGD(host.parameters(), lr=0.001)
            while host.slot.state != "HOLDING":
                self.step(host, optimizer)
            for i in range(30):
                host.slot.tick(loss=torch.tensor(1 + 0.01 * (i % 3)))
            self.assertEqual([host.slot.tick(loss=bad) for _ in range(ticks)],
                             ["HOLDING"] * (ticks - 1) + ["PRUNED"])
            self.assertTrue(any("loss explodes" in e["reason"] for e in host.slot.events()))
        slot = urza.Slot()
        self.assertEqual(slot.tick(loss=float("nan")), "DORMANT")

    # The governor.

    def test_governor(self):
        for kind, words in [(torch.optim.AdamW, {"lr": 0.01}),
                            (torch.optim.SGD, {"lr": 0.01, "momentum": 0.9})]:
            with self.subTest(kind=kind):
                self.govern(kind, words)

    def govern(self, kind, words):
        torch.manual_seed(3)
        model = nn.Sequential(nn.Linear(16, 8), nn.BatchNorm1d(8), nn.Linear(8, 4))
        optimizer = kind(model.parameters(), **words)
        governor = urza.Governor(model, optimizer, snapshot_every=10)
        def train(bad=False):
            loss = nn.functional.mse_loss(model(self.x), self.target)
            optimizer.zero_grad()
            loss.backward()
            if governor.observe(loss * (float("inf") if bad else 1)):
                return True
            optimizer.step()
            return False
        first = copy.deepcopy((model.state_dict(), optimizer.state_dict()["state"]))
        self.assertTrue(not any(train() for _ in range(5)) and train(bad=True))
        # to the first snapshot: before the optimizer had any state
        self.same(first, (model.state_dict(), optimizer.state_dict()["state"]))
        for _ in range(9):
            self.assertFalse(train())
        # the tenth is a snapshot, of what is there before its step; forward changed statistics
        loss = nn.functional.mse_loss(model(self.x), self.target)
        optimizer.zero_grad()
        loss.backward()
        at = copy.deepcopy((model.state_dict(), optimizer.state_dict()["state"]))
        self.assertFalse(governor.observe(loss))
        optimizer.step()
        for group in optimizer.param_groups:
            group["lr"] = 0.005
        for _ in range(4):
            self.assertFalse(train())
        optimizer.state[model[0].weight]["seen"] = 3  # made later: goes
        self.assertTrue(train(bad=True))
        self.same(at, (model.state_dict(), optimizer.state_dict()["state"]))
        self.assertEqual(optimizer.param_groups[0]["lr"], 0.005)

    def same(self, a, b):
        if isinstance(a, torch.Tensor):
            self.assertTrue(torch.equal(a, b))
        elif isinstance(a, dict):
            self.assertEqual(list(a), list(b))
            for key in a:
                self.same(a[key], b[key])
        elif isinstance(a, (tuple, list)):
            for one, other in zip(a, b, strict=True):
                self.same(one, other)
        else:
            self.assertEqual(a, b)

    def test_governor_of_numbers_in_the_state(self):
        """An optimizer whose `step` is a number of Python, and whose tensors change their shape."""
        class Counts(torch.optim.SGD):
            def step(self):
                for p in self.param_groups[0]["params"]:
                    state = self.state[p]
                    state["step"] = state.get("step", 0) + 1
                    state["past"] = torch.cat([state.get("past", p.new_zeros(0)), p.new_ones(1)])
                return super().step()
        model = nn.Linear(16, 4)
        optimizer = Counts(model.parameters(), lr=0.1)
        governor = urza.Governor(model, optimizer, snapshot_every=3)
        for _ in range(5):
            self.assertFalse(governor.observe(1.0))
            model(self.x).sum().backward()
            optimizer.step()
        self.assertTrue(governor.observe(float("nan")))
        for p in model.parameters():
            self.assertEqual(optimizer.state[p]["step"], 2)
            self.assertEqual(optimizer.state[p]["past"].tolist(), [1.0, 1.0])

    def test_governor_and_a_seed(self):
        """A seed that is planted after the snapshot goes back to how it began."""
        host = self.host(planted=False)
        optimizer = torch.optim.Adam(host.parameters(), lr=0.05)
        host.slot.attach(optimizer)
        governor = urza.Governor(host, optimizer)
        host.slot.plant(self.package, name="tanh")
        governor.observe(1.0)
        begun = [p.detach().clone() for p in host.slot.parameters()]
        for _ in range(8):
            self.step(host, optimizer)
            self.assertFalse(governor.observe(1.0))
        seed = list(host.slot.parameters())
        self.assertFalse(all(torch.equal(a, b) for a, b in zip(seed, begun, strict=True)))
        self.assertTrue(governor.observe(float("nan")))
        self.assertTrue(all(torch.equal(a, b) for a, b in zip(seed, begun, strict=True)))
        self.assertFalse(any(p in optimizer.state for p in seed))

    def test_refused(self):
        slot, model = urza.Slot(name="one"), nn.Linear(2, 2)
        sgd = torch.optim.SGD(model.parameters(), lr=1)
        slot.plant(self.package)
        saved = slot.get_extra_state()
        for make, error, words in [
            (lambda: slot.plant(self.package), urza.UsageError, "GERMINATED: seeds are planted in"),
            (lambda: slot.attach(3), TypeError, "torch.optim"),
            (lambda: slot([1.0]), TypeError, "tensor of PyTorch"),
            (lambda: slot.apply(b"junk"), urza.InvalidInputError, "no decision"),
            (lambda: slot.apply(b"1\n\njunk"), urza.InvalidInputError, "lacks"),
            *[(lambda bad=bad: slot.set_extra_state({**saved, "ticks": bad}),
               urza.InvalidInputError, "no number of ticks")
              for bad in ("x", None, float("nan"), -1, 10**30, True)],
            (lambda: slot.apply(f"{10**30}\n\n{saved['state']}".encode()),
             urza.InvalidInputError, "no number of ticks"),
            (lambda: slot.apply(f"1\n7 %\n{saved['state']}".encode()),
             urza.InvalidInputError, "no decision"),
            (lambda: slot.apply(b"\xff\n\n"), urza.InvalidInputError, "no decision"),
            (lambda: slot.set_extra_state({"ticks": 1}), KeyError, "rollout"),
            (lambda: slot.set_extra_state({**saved, "rollout": {"flag": ""}}), KeyError, "percent"),
            (lambda: urza.Governor(model, None), TypeError, "optimizer"),
            (lambda: urza.Governor(model, sgd, snapshot_every=-1), ValueError, "snapshot_every"),
            (lambda: urza.Governor(model, sgd).observe(torch.ones(3)), (ValueError, RuntimeError),
             "one element|scalar"),
        ]:
            with self.assertRaisesRegex(error, words):
                make()
        self.assertEqual(slot.get_extra_state(), saved)

    def test_a_group_that_is_there_already(self):
        """The host gave the optimizer the seed's parameters itself: they leave all the same."""
        host = self.host()
        optimizer = torch.optim.SGD(host.parameters(), lr=0.1)
        host.slot.attach(optimizer)
        self.assertEqual(len(optimizer.param_groups), 1)
        host.slot.command("prune")
        host.slot.tick()
        self.assertEqual(len(optimizer.param_groups[0]["params"]), 4)

    # Copies.

    def test_copies_and_pickles(self):
        host = self.host()
        optimizer = torch.optim.SGD(host.parameters(), lr=0.05)
        for _ in range(6):
            self.step(host, optimizer)
        host.slot.rollout(self.package, "flag", percent=50)
        file = io.BytesIO()
        torch.save(host, file)
        file.seek(0)
        others = [copy.deepcopy(host), pickle.loads(pickle.dumps(host)),
                  torch.load(file, weights_only=False)]
        optimizers = [torch.optim.SGD(each.parameters(), lr=0.05) for each in others]
        for each in others:
            self.assertEqual(each.slot.events(), [])
            self.assertEqual(each.slot.get_extra_state(), host.slot.get_extra_state())
            mine, its = ({id(p) for p in model.parameters()} for model in (host, each))
            self.assertFalse(mine & its)
        for _ in range(20):
            expected = self.step(host, optimizer)
            for each, its in zip(others, optimizers, strict=True):
                self.assertEqual(self.step(each, its), expected)
        self.assertEqual(host.slot.state, "HOLDING")
        self.assertIs(others[0].slot._module, host.slot._module)

    def test_copies_in_other_states(self):
        slot = urza.Slot(name="one", **OPTIONS)
        self.assertEqual(copy.deepcopy(slot).state, "DORMANT")
        host = self.host()
        host.slot.command("prune")
        for _ in range(12):
            other = pickle.loads(pickle.dumps(host))
            self.assertEqual((other.slot.state, other.slot.tick()),
                             (host.slot.state, host.slot.tick()))
        self.assertEqual(host.slot.state, "DORMANT")

    def test_a_copy_amid_the_compilation_is_refused(self):
        slot = urza.Slot(name="one", **OPTIONS)
        slot.plant(self.package, init="gradmax")
        for make in (copy.deepcopy, pickle.dumps):
            with self.assertRaisesRegex(urza.UnsupportedError, "waits for its kernel"):
                make(slot)

    def test_workers_of_a_loader(self):
        host = self.host()
        optimizer = torch.optim.SGD(host.parameters(), lr=0.05)
        while host.slot.state != "HOLDING":
            self.step(host, optimizer)
        with torch.no_grad():
            expected = torch.cat([host(self.x[i:i + 1]) for i in range(32)])
        loader = torch.utils.data.DataLoader(Data(host, self.x), batch_size=8, num_workers=2,
                                             multiprocessing_context="fork")
        self.assertTrue(torch.equal(torch.cat(list(loader)), expected))
        self.assertEqual(self.step(host, optimizer)[1], "HOLDING")


if __name__ == "__main__":
    unittest.main()
