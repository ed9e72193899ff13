"""urza.Slot.rollout: another kernel for a slot's seed."""
import json
import unittest

import urza
from support import ROOT, Case

try:
    import torch
except ImportError as missing:
    raise unittest.SkipTest("PyTorch is not installed (URZA_TEST_TORCH=1 installs it)") from missing

OPTIONS = {"train_ticks": 2, "blend_ticks": 2}


class Rollouts(Case):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        seed = json.loads((ROOT / "examples" / "seed.json").read_text())
        graft = ("--graft", "residual", "--backward")
        cls.champion = cls.compile("champion", seed, *graft)
        # The same block: its parameters in another order, and one operation more.
        seed["params"].reverse()
        seed["nodes"][2]["id"] = "r"
        seed["nodes"].append({"id": "q", "op": "neg", "in": ["r"]})
        seed["nodes"].append({"id": "s", "op": "neg", "in": ["q"]})
        cls.challenger = cls.compile("challenger", seed, *graft)
        seed["nodes"][1]["op"] = "relu"
        cls.wrong = cls.compile("wrong", seed, *graft)
        seed["params"][0]["id"] = seed["nodes"][2]["in"][2] = "b3"
        cls.other = cls.compile("other", seed, *graft)
        torch.manual_seed(2)
        cls.h, cls.dy = torch.randn(8, 16), torch.randn(8, 16)

    def held(self):
        slot = urza.Slot(name="one", **OPTIONS)
        slot.plant(self.champion, name="tanh", init=None)
        while slot.state != "HOLDING":
            self.step(slot)
        slot.events()
        return slot

    def step(self, slot):
        slot.zero_grad()
        h = self.h.clone().requires_grad_()
        y = slot(h)
        y.backward(self.dy)
        slot.tick()
        return y.detach()

    def told(self, slot):
        return [(e["from"], e["to"]) for e in slot.events() if e["kind"] == "rollout"]

    def test_the_ladder(self):
        """With a clock by which both are as fast, all depends on values alone. Rungs want five
        pairs, and 3,316 calls without a failure from 1 % on: so no more than 1 % is reached."""
        slot, expected = self.held(), None
        expected = self.step(slot)
        ticks = iter(range(10 ** 9))
        slot.rollout(self.challenger, "flag", sample_every=1, pairs=5, clock=lambda: next(ticks))
        self.assertEqual(slot.rollout_state()["rung"], "shadow")
        for _ in range(2000):
            torch.testing.assert_close(self.step(slot), expected, rtol=1e-5, atol=1e-5)
            if slot.rollout_state()["rung"] != "shadow":
                break
        state = slot.rollout_state()
        self.assertEqual([state[k] for k in ("rung", "slower", "errors", "reason")],
                         ["1 %", 0, 0, "it is right, no slower, and does not fail"])
        self.assertGreaterEqual(state["pairs"], 5)
        self.assertEqual(self.told(slot), [("off", "shadow"), ("shadow", "1 %")])
        self.assertEqual(set(state), {"rung", "arm_calls", "pairs", "slower", "e_value", "errors",
                                      "reason"})

    def test_it_is_slower(self):
        """By a clock that runs with the challenger's calls: as slow as it is said to be."""
        slot = self.held()
        challenger = urza.load(self.challenger)
        clock = lambda: 1000 * slot._module.stats()["calls"] + 2000 * challenger.stats()["calls"]
        slot.rollout(challenger, "flag", sample_every=1, clock=clock)
        for number in range(1, 100):
            self.step(slot)
            state = slot.rollout_state()
            if state["rung"] == "rolled back":
                break
        self.assertEqual((state["reason"], state["pairs"], state["slower"]),
                         ("it is slower", number, number))
        self.assertGreaterEqual(state["e_value"], 1000)
        # 2ⁿ B(½ + n, ½) / B(½, ½) = Π 2(½ + i) / (1 + i)
        e = 1.0
        for i in range(number):
            e *= 2 * (0.5 + i) / (1 + i)
        self.assertAlmostEqual(state["e_value"] / e, 1, places=9)
        self.assertLess(e / (2 * (number - 0.5) / number), 1000)  # and not one pair earlier

    def test_it_is_wrong(self):
        slot = self.held()
        expected = self.step(slot)
        slot.rollout(self.wrong, "flag", sample_every=1, clock=lambda: 0)
        for _ in range(3000):
            torch.testing.assert_close(self.step(slot), expected, rtol=0, atol=0)
            if slot.rollout_state()["rung"] == "rolled back":
                break
        self.assertIn("its result is wrong", slot.rollout_state()["reason"])
        self.assertEqual(slot.state, "HOLDING")
        self.assertEqual(self.told(slot), [("off", "shadow"), ("shadow", "rolled back")])

    def test_a_percentage_stays(self):
        slot = self.held()
        first = slot._ticks
        slot.rollout(self.challenger, "flag", percent=50)
        arms = []
        for _ in range(400):
            arms.append(slot._roll.rollout.arm(*self.place(slot)))
            self.step(slot)
        state = slot.rollout_state()
        self.assertEqual(state["rung"], "50 %")
        self.assertEqual(state["arm_calls"], {"champion": 400 - sum(arms), "challenger": sum(arms)})
        self.assertTrue(100 < sum(arms) < 300)
        for at, arm in enumerate(arms):  # eight steps by one arm
            self.assertEqual(arm, arms[max(at - (first + at) % 8, 0)])
        slot.rollback("I say so")
        state = slot.rollout_state()
        self.assertEqual((state["rung"], state["reason"]), ("rolled back", "I say so"))
        self.assertEqual(slot._roll.rollout.arm(*self.place(slot)), 0)
        slot.rollout(self.challenger, "flag", percent=100)
        self.step(slot)
        self.assertEqual(slot.rollout_state()["arm_calls"], {"champion": 0, "challenger": 1})
        slot.rollout(self.challenger, "flag", shadow=False)
        self.assertEqual(slot.rollout_state()["rung"], "1 %")

    @staticmethod
    def place(slot):
        from urza.slot import _number
        return _number("one"), slot._ticks

    def test_flags_draw_different_steps(self):
        def arms(flag):
            slot = self.held()
            slot.rollout(self.challenger, flag, percent=50)
            return [slot._roll.rollout.arm(self.place(slot)[0], step) for step in range(800)]
        self.assertEqual(arms("a"), arms("a"))
        self.assertNotEqual(arms("a"), arms("b"))

    def test_saved(self):
        slot, other = self.held(), self.held()
        slot.rollout(self.challenger, "flag", percent=50, sample_every=1, clock=lambda: 0)
        for _ in range(9):
            self.step(slot)
        saved = slot.state_dict()
        before = other.get_extra_state()
        with self.assertRaisesRegex(urza.InvalidInputError, "start it first"):
            other.set_extra_state(saved["_extra_state"])
        self.assertEqual(other.get_extra_state(), before)
        other.rollout(self.challenger, "flag", percent=1, sample_every=1, clock=lambda: 0)
        other.load_state_dict(saved)
        self.assertEqual(other.get_extra_state(), slot.get_extra_state())
        self.assertEqual(other.rollout_state()["pairs"], 9)
        for _ in range(30):
            self.assertTrue(torch.equal(self.step(slot), self.step(other)))

    def test_other_processes_follow(self):
        slot, other = self.held(), self.held()
        for each in (slot, other):
            each.rollout(self.challenger, "flag", sample_every=1, clock=lambda: 0)
        slot._roll.rollout.set("10 %", "a test")
        self.step(slot)
        other.apply(slot.decision())
        self.assertEqual(other.rollout_state()["rung"], "10 %")
        other.rollback()
        self.step(slot)
        other.apply(slot.decision())
        self.assertEqual(other.rollout_state()["rung"], "rolled back")

    def test_it_ends_with_the_seed(self):
        slot = self.held()
        slot.rollout(self.challenger, "flag", percent=100, sample_every=1)
        y = slot(self.h.clone().requires_grad_())
        slot.command("prune")
        slot.tick()
        self.assertEqual(slot.rollout_state()["rung"], "off")
        y.backward(self.dy)  # a tape outlives the rollout
        del y
        slot.tick()
        with self.assertRaisesRegex(urza.UsageError, "no rollout"):
            slot.rollback()

    def test_replaced_amid_calls(self):
        slot = self.held()
        tapes = []
        for i in range(20):
            slot.rollout(self.challenger, f"flag {i}", percent=100, sample_every=1)
            tapes.append(slot(self.h.clone().requires_grad_()))
        for y in tapes[::-1]:
            y.backward(self.dy)
        slot.tick()
        self.assertEqual(slot.rollout_state()["arm_calls"], {"champion": 0, "challenger": 1})

    def test_refused(self):
        slot = urza.Slot(name="one")
        with self.assertRaisesRegex(urza.UsageError, "no seed"):
            slot.rollout(self.challenger)
        slot = self.held()
        for words in ({"percent": 7}, {"percent": 10, "shadow": True}):
            with self.assertRaises(ValueError):
                slot.rollout(self.challenger, **words)
        with self.assertRaises(TypeError):
            slot.rollout(self.challenger, flag=3)
        with self.assertRaises(urza.Error):
            slot.rollout(self.other)
        with self.assertRaises(urza.Error):
            slot.rollout(self.compile("lerp", ROOT / "examples" / "seed.json", "--graft", "lerp",
                                      "--backward"))
        self.assertEqual(slot.rollout_state()["rung"], "off")
        self.step(slot)


if __name__ == "__main__":
    unittest.main()
