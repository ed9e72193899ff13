"""urza.Slot: a place in a network of PyTorch where a graft learns, is blended in, and is kept or
taken out. Imports PyTorch; docs/python.md has the part for users."""
import copy
import hashlib
import math
import re

import torch

from . import _ops, _seed, _store, _urza, load

WITHOUT_SEED = ("DORMANT", "PRUNED", "EMBARGOED", "RESETTING")
NO_KERNEL = "there is no kernel for the seed"  # how the event of a refusal begins
RUNGS = ("off", "shadow", "1 %", "10 %", "50 %", "100 %", "final", "rolled back")
PINNED = {0: "off", 1: "1 %", 10: "10 %", 50: "50 %", 100: "100 %"}
# What a copy or a pickle of a slot has not: it makes its own, or is attached anew.
OWN = ("_slot", "_handle", "_watch", "_attached", "_roll", "_rows", "_said")


class _Call(torch.autograd.Function):
    """y of h and the seed's parameters."""

    @staticmethod
    def forward(ctx, slot, step, factors, h, *params):
        learns = any(ctx.needs_input_grad[3:])
        y, tape = _run(slot._slot, step, h, params, factors, learns)
        ctx.slot, ctx.tape, ctx.used = slot, tape, False
        ctx.save_for_backward(h, *params, *(() if y is h else (y,)))
        return h.view_as(h) if y is h else y

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, dy):
        if ctx.used:
            raise RuntimeError("a slot's tape is used once: retain_graph does not keep it")
        saved = ctx.saved_tensors  # looks whether anything was changed in place
        params = saved[1:len(ctx.needs_input_grad) - 3]
        dparams = tuple(torch.empty_like(p) if want else None
                        for p, want in zip(params, ctx.needs_input_grad[4:]))
        tape, ctx.tape, ctx.used = ctx.tape, None, ctx.tape is not None
        dy = dy.contiguous()
        if ctx.slot._plan is not None:
            ctx.slot._plan.add(saved[0], dy)
        dh = torch.empty_like(dy) if tape is not None else None
        is_dy = ctx.slot._slot.backward(tape, dy, dh, dparams)
        return None, None, None, dy if is_dy else dh, *dparams


def _run(slot, step, h, params, factors, learns):
    """(y, tape): y is h itself where the slot gives that."""
    done, y = slot.forward(step, h, params, factors, None, learns), None
    if done is None:
        y = torch.empty_like(h, memory_format=torch.contiguous_format)
        # The tape keeps what it is given. y will have the tape in its history: a circle.
        done = slot.forward(step, h, params, factors, y.detach() if learns else y, learns)
    is_host, tape = done
    return h if is_host else y, tape


class _Plan:
    """What a seed waits for before the slot gets its kernel: the compiler, and with "gradmax" the
    moment Σ dL/dy hᵀ of a step of the host."""

    def __init__(self, number, init, package=None, job=None):
        self.number, self.init, self._package, self.job = number, init, package, job
        self._moment = None

    def add(self, h, dy):
        if self.init != "gradmax":
            return
        features = h.shape[-1]
        rows, by_rows = (each.detach().reshape(-1, features).double() for each in (h, dy))
        moment = by_rows.T @ rows
        if self._moment is not None and self._moment.shape == moment.shape:
            moment += self._moment
        self._moment = moment

    def take(self):
        """(package or None, error or None, moment), once all is there; else None. A moment is of
        one step alone."""
        moment, self._moment = self._moment, None
        if self.job is not None and not self.job.done:
            return None
        if self.job is not None and self.job.error is not None:
            return None, self.job.error, None
        if self.init == "gradmax" and (moment is None or not moment.isfinite().all()):
            return None
        return self._package or self.job.package, None, moment


class Slot(torch.nn.Module):
    """slot(h) gives h until a seed is planted; then its state decides (docs/layers.md).

    blend: "residual", "lerp", "multiply" or "gate"; seeds are grafts of that blend.
    isolate: while a seed blends, no gradients pass its input.
    name: for events and saved states.
    chunks: of h's features (dim 1 of four dims or more, else the last one): a seed is so many
        copies of one block, each with its own parameters and its own chunk, run as one.
    Further options are those of urza/layer.h: boost, curve,
        gradient_ratio, gain, random_seed, germinate_ticks, train_ticks, blend_ticks, hold_ticks,
        embargo_ticks, faults_most.
    """

    def __init__(self, blend="residual", isolate=True, name="", chunks=1, **options):
        super().__init__()
        if not isinstance(chunks, int) or not 1 <= chunks <= _seed.CHUNKS_MOST:
            raise ValueError(f"chunks is a number from 1 to {_seed.CHUNKS_MOST}, not {chunks!r}")
        self.chunks = chunks
        self._given = (blend, isolate, name, options)
        self._ticks = 0
        self._seed = None  # the name of the one whose parameters are here
        self._names = None  # of its parameters, in its kernel's order; None: not known yet
        self._order = ()
        self._module = None  # its kernel
        self._plan = None
        self._met = None  # shape and dtype of the last h without a seed
        self.seeds = torch.nn.ModuleDict()
        self.register_load_state_dict_post_hook(Slot._loaded)
        self._open()

    def _open(self):
        blend, isolate, name, options = self._given
        self._slot = _urza._Slot(name=name, blend=blend, through=not isolate, **options)
        self._handle = _ops.add_slot(self)
        self._watch = _urza._Governor()
        self._attached = self._roll = self._rows = None
        self._said, self._refused = [], (None, "")

    # Seeds.

    def plant(self, package, name="seed", init="zero", *, example_inputs=None, wait=False,
              client=None, **options):
        """Plants a seed in a DORMANT slot; returns its number.

        package: a graft, as a urza.Module or what urza.load takes (client and options are its); or
            a torch.nn.Module of one argument, which is exported here and compiled beside the
            training, by the program `urza` of PATH or by client's registry (options are hints as of
            urza.compile, and threads). Its own parameters are trained. Whatever goes wrong with it
            is an event, and prunes the seed.
        name: its parameters are slot.seeds.NAME.…
        init: "zero" makes the seed begin as nothing (its last layer is zero); "lora" so, and draws
            all other matrices; "gradmax" takes the directions in which the host's loss falls most,
            from one step of the host; None keeps the values that there are.
        example_inputs: of a module in a slot that was not called yet: a tensor like h.
        wait: for the compiler.
        """
        if init not in _seed.INITS:
            raise ValueError(f"init is 'zero', 'lora', 'gradmax' or None, not {init!r}")
        if self.state != "DORMANT":
            raise _store.error("UsageError", f"it is {self.state}: seeds are planted in DORMANT "
                               "ones", f"slot {self._given[2]!r}")
        if not isinstance(name, str) or not name or "." in name or hasattr(self.seeds, name):
            raise ValueError(f"a seed's name is text without dots, and no attribute: {name!r}")
        if isinstance(package, torch.nn.Module):
            return self._plant_source(package, name, init, example_inputs, wait, client, options)
        if example_inputs is not None:
            raise TypeError("example_inputs are for a torch.nn.Module")
        module = package if isinstance(package, _urza.Module) else \
            load(package, client=client, **options)
        if module.graft is not None and module.graft["chunks"] != self.chunks:
            raise _store.error("UnsupportedError", f"the graft has {module.graft['chunks']} "
                               f"chunks, and the slot {self.chunks}", f"slot {self._given[2]!r}")
        holder = _seed.of_package(module)
        names = tuple(info.name for info in module.params)
        if init == "gradmax":
            _urza._Slot(blend=self._given[0]).plant(name, module)  # refused here, if it is
            last, features = module.graft["last"], module.inputs[0].shape[-1]
            _seed.check_gradmax({each: _seed.tensor(holder, each) for each in names}, last,
                                features)
        number = self._slot.plant(name, None if init == "gradmax" else module)
        self._take_root(name, holder, names)
        if init == "gradmax":
            self._plan = _Plan(number, init, package=module)
        else:
            self._begin(number, module, init)
        self._add_group()
        return number

    def _plant_source(self, source, name, init, example_inputs, wait, client, options):
        shape, dtype = self._shape(example_inputs)
        threads = options.pop("threads", 1)
        _seed.check_hints(options, client)
        chunk = _seed.chunk_of(shape, self.chunks)
        if init == "gradmax" and self.chunks > 1:
            raise ValueError("init 'gradmax' is for slots of one chunk")
        holder = _seed.of_source(source, self._given[0], shape, dtype, self.chunks)
        number = self._slot.plant(name)
        self._take_root(name, holder, None)
        self._add_group()
        try:
            program = _seed.export(source, chunk, dtype)
            graft = self._given[0] if self.chunks == 1 else f"{self._given[0]}/{self.chunks}"
            job = _seed.Job(program, graft, client, threads, options)
        except Exception as problem:
            self._refuse(number, str(problem))
            return number
        self._plan = _Plan(number, init, job=job)
        if wait:
            job.wait()
            self._receive()
        return number

    def _shape(self, example):
        if isinstance(example, (tuple, list)) and len(example) == 1:
            example = example[0]
        if example is not None and not isinstance(example, torch.Tensor):
            raise TypeError("example_inputs is a tensor like h, or a tuple of one")
        met = self._met if example is None else (example.shape, example.dtype)
        if met is None:
            raise _store.error("UsageError", "the slot was not called yet, so the shape of h is "
                               "not known: call it once, or give example_inputs", "plant")
        if len(met[0]) < 1:
            raise _store.error("UsageError", "h has no dims, and a seed's rows are its first",
                               "plant")
        return met

    def _take_root(self, name, holder, names):
        self._drop()
        self.seeds[name], self._seed, self._names = holder, name, names
        self._bind()

    def _bind(self):
        """Also after another object took a parameter's place."""
        if self._seed is None:
            self._order = ()
        elif self._names is None:
            self._order = tuple(self.seeds[self._seed].parameters())
        else:
            holder = self.seeds[self._seed]
            self._order = tuple(_seed.tensor(holder, name) for name in self._names)

    def _begin(self, number, module, init, moment=None):
        blend, _, name, options = self._given
        drawn = _seed.stream(name, self._seed, options.get("random_seed", 0), number)
        tensors = dict(zip(self._names, self._order, strict=True))
        _seed.begin(init, tensors, module.graft, drawn, moment)
        self._module = module

    def _refuse(self, number, text):
        """The event has room for the beginning of the text, events() for all of it."""
        self._refused = (number, text)
        self._slot.refuse(number, text.replace("\n", " "))

    def _receive(self):
        """Before a tick: gives the slot the kernel, if it has come."""
        found = self._plan.take()
        if found is None:
            return
        plan, self._plan = self._plan, None
        package, error, moment = found
        if error is None:
            try:
                self._accept(plan, package, moment)
            except (ValueError, _urza.Error) as problem:
                error = str(problem)
        if error is not None:
            self._refuse(plan.number, error)

    def _accept(self, plan, package, moment):
        names = tuple(info.name for info in package.params)
        holder = self.seeds[self._seed]
        for info in package.params:
            found = _seed.tensor(holder, info.name)
            if found is None or tuple(found.shape) != tuple(info.shape):
                raise _store.error("InvalidPackageError", "the module has no such parameter",
                                   f"parameter {info.name!r}")
        if package.graft is None:
            raise _store.error("UnsupportedError", "what was compiled is no graft")
        before = self._names
        self._names = names
        self._bind()
        try:
            self._begin(plan.number, package, plan.init, moment)
        except ValueError:
            self._names = before
            self._bind()
            raise
        try:
            self._slot.supply(plan.number, package)
        except _urza.Error as problem:  # the slot has refused the seed
            self._refused = (plan.number, str(problem))

    def _drop(self):
        if self._plan is not None and self._plan.job is not None:
            self._plan.job.cancel()
        if self._seed is not None:
            self._remove_group()
            del self.seeds[self._seed]
        self._seed = self._names = self._plan = self._module = self._roll = None
        self._order = ()

    # Calls and ticks.

    def forward(self, h, factors=None):
        """factors: of alpha, one for each row of h; rows with 0 are h."""
        if torch.compiler.is_compiling():
            return self._traced(h, factors)
        if not self._slot.has_seed:
            self.__dict__["_met"] = h.shape, h.dtype
            return h
        if not isinstance(h, torch.Tensor):
            raise TypeError(f"h is a tensor of PyTorch, not a {type(h).__name__}")
        if not h.is_cpu:
            raise _store.error("InvalidInputError", f"it is on device {h.device}: seeds run on the "
                               "CPU", "h")
        params = self._order
        if torch.is_grad_enabled() and (h.requires_grad or any(p.requires_grad for p in params)):
            self._keep_rows(factors)
            return _Call.apply(self, self._ticks, factors, h, *params)
        with torch.no_grad():
            return self._run(h, params, factors, False)[0]

    def _traced(self, h, factors):
        """An operator that looks at the state when it runs, so that no state is part of a graph,
        but whether there is a seed, whose parameters are arguments."""
        if torch.compiler.is_exporting():
            raise RuntimeError("a program that has a urza.Slot in it cannot be exported: its state "
                               "and its ticks are this process's")
        if self._seed is None:
            return h
        return torch.ops.urza.slot(self._handle, h, self._order, factors)

    def _run(self, h, params, factors, learns):
        self._keep_rows(factors)
        return _run(self._slot, self._ticks, h, params, factors, learns)

    def _keep_rows(self, factors):
        """For the gain. A copy: the host, or a compiled graph, may use the memory for something
        else before the tick."""
        self.__dict__["_rows"] = None if factors is None else factors.clone()

    def tick(self, loss=None, *, gain=None, host_norm=0.0, host_parameters=0):
        """Once for each step of the optimizer; returns the state.

        loss: the loss of the step, a number: where it explodes (include/urza/governor.h) while the
            seed blends or is held, the seed is pruned. Or a tensor with the loss of each row of the
            last call, which had factors: their mean is watched, and the mean loss of the rows with
            factor 0 less that of the others is the gain.
        gain, host_norm, host_parameters: as in urza/layer.h.
        """
        if loss is not None:
            gain = self._watch_loss(loss, gain)
        if self._plan is not None:
            self._receive()
        before = self._slot.state
        state = self._slot.tick(gain=gain, host_norm=host_norm, host_parameters=host_parameters)
        self._ticks += 1
        if state in WITHOUT_SEED:
            self._drop()
            return state
        if self._roll is not None:
            self._roll.tick()
        if self._attached is not None and self._attached[1] and before != "GERMINATED":
            self._warm_up()
        return state

    def _watch_loss(self, loss, gain):
        rows = loss.detach() if isinstance(loss, torch.Tensor) else loss
        if isinstance(rows, torch.Tensor) and rows.dim() == 1:
            if gain is not None:
                raise TypeError("tick has a gain, and rows' losses to take it from")
            gain = self._gain(rows)
            rows = rows.double().mean() if rows.numel() else 0.0
        exploded = self._watch.observe(float(rows))[0]
        if exploded and self.state in ("BLENDING", "HOLDING"):
            self._say("fault", "the loss explodes: the seed is pruned")
            self._slot.command("prune", 0, 0.0, "linear")
        return gain

    def _gain(self, rows):
        if self._seed is None:
            return None
        factors = self._rows
        if factors is None or factors.shape != rows.shape:
            raise ValueError("losses of rows tell a gain where the slot's last call had factors, "
                             "one for each of these rows")
        without = factors == 0
        if without.all() or not without.any():
            return None
        return float(rows[without].double().mean() - rows[~without].double().mean())

    def _say(self, kind, reason, before=None, after=None):
        state = self.state
        seed = int(re.search(r"^seed_number=(\d+)$", self._slot.save(), re.MULTILINE)[1])
        self._said.append({"kind": kind, "reason": reason, "from": before or state,
                           "to": after or state, "seed": seed, "tick": self._ticks, "count": 1})

    # An optimizer.

    def attach(self, optimizer, *, warmup=0, **group_options):
        """An optimizer that trains seeds: one group for each, with group_options (lr, …), added
        when it is planted; the group and its state go when it is pruned. warmup: the group's lr
        rises linearly over so many ticks from TRAINING on; tick t has t / warmup of it. None
        detaches."""
        if optimizer is not None and not isinstance(optimizer, torch.optim.Optimizer):
            raise TypeError(f"attach takes an optimizer of torch.optim, or None, not {optimizer!r}")
        unknown = set(group_options) - set(getattr(optimizer, "defaults", group_options))
        if unknown:
            raise TypeError(f"the optimizer has no option {min(unknown)!r}")
        if isinstance(warmup, bool) or not isinstance(warmup, int) or warmup < 0:
            raise ValueError(f"warmup is a number of ticks, not {warmup!r}")
        self._remove_group()
        self._attached = None if optimizer is None else (optimizer, warmup, group_options)
        self._add_group()

    def _add_group(self):
        if self._attached is None or self._seed is None:
            return
        optimizer, warmup, options = self._attached
        known = {id(p) for group in optimizer.param_groups for p in group["params"]}
        params = [p for p in self.seeds[self._seed].parameters()
                  if p.requires_grad and id(p) not in known]
        if not params:
            return
        optimizer.add_param_group({"params": params, **options})
        if warmup:
            group = optimizer.param_groups[-1]
            group["slot_lr"], group["slot_ticks"] = group["lr"], 0
            group["lr"] = group["slot_lr"] / warmup

    def _groups(self):
        """The optimizer's groups with parameters of the seed: load_state_dict makes new ones."""
        if self._attached is None or self._seed is None:
            return []
        own = {id(p) for p in self.seeds[self._seed].parameters()}
        return [group for group in self._attached[0].param_groups
                if any(id(p) in own for p in group["params"])]

    def _remove_group(self):
        for group in self._groups():
            optimizer = self._attached[0]
            own = {id(p) for p in self.seeds[self._seed].parameters()}
            for p in group["params"]:
                if id(p) in own:
                    optimizer.state.pop(p, None)
            group["params"] = [p for p in group["params"] if id(p) not in own]
            if not group["params"]:
                optimizer.param_groups[:] = [g for g in optimizer.param_groups if g is not group]

    def _warm_up(self):
        warmup = self._attached[1]
        for group in self._groups():
            ticks = group.get("slot_ticks", warmup)
            if ticks < warmup:
                group["slot_ticks"] = ticks = ticks + 1
                group["lr"] = group["slot_lr"] * min(1, (ticks + 1) / warmup)

    # A rollout.

    def rollout(self, package, flag="", *, percent=None, shadow=None, sample_every=0, pairs=0,
                clock=None, **load_options):
        """Rolls out another kernel for the seed (docs/runtime.md): a graft of the same blend and
        parameters. It goes from rung to rung by itself as the slot is ticked, and back where it is
        wrong, slower or fails.

        flag: a name, from which the steps follow that run it.
        percent: 0, 1, 10, 50 or 100: stays there. shadow: True (what holds without either): begins
            beside the seed's own kernel; False: begins at 1 %.
        sample_every, pairs: as in urza/rollout.h. clock: a function that tells nanoseconds in place
            of the machine's clock, for tests.
        """
        if percent is not None and (percent not in PINNED or shadow is not None):
            raise ValueError(f"percent is 0, 1, 10, 50 or 100, and without shadow; not {percent!r}")
        if self._module is None:
            raise _store.error("UsageError", "the slot has no seed with a kernel", "rollout")
        challenger = package if isinstance(package, _urza.Module) else \
            load(package, **load_options)
        self._roll_on(_Roll(self, challenger, flag, percent, sample_every, pairs, clock))
        self._roll.rollout.set(PINNED[percent] if percent is not None else
                               "1 %" if shadow is False else "shadow", "it begins")

    def _roll_on(self, roll):
        self._slot.roll(roll.rollout, _number(self._given[2]))
        self._roll = roll

    def rollout_state(self):
        """rung, arm_calls, pairs, slower, e_value, errors, reason: of the rollout, if there is
        one."""
        if self._roll is None:
            return {"rung": "off", "arm_calls": {"champion": 0, "challenger": 0}, "pairs": 0,
                    "slower": 0, "e_value": 1.0, "errors": 0, "reason": ""}
        return self._roll.state()

    def rollback(self, reason="as it was told"):
        """From the next call on, the seed's own kernel runs."""
        if self._roll is None:
            raise _store.error("UsageError", "the slot has no rollout", "rollback")
        self._roll.rollout.set("rolled back", reason)

    # Saving.

    def get_extra_state(self):
        """Of state_dict: text and numbers, beside the tensors."""
        return {"state": self._slot.save(), "ticks": self._ticks,
                "rollout": self._roll and self._roll.saved()}

    def set_extra_state(self, saved):
        """Plants nothing: a seed of the saved name, and a rollout of the saved flag, must be there
        before."""
        if not isinstance(saved, dict) or set(saved) != {"state", "ticks", "rollout"}:
            raise KeyError("the saved state of a slot has 'state', 'ticks' and 'rollout'")
        roll = saved["rollout"]
        ticks = _ticks(saved["ticks"])
        if roll is not None and (not isinstance(roll, dict) or
                                 set(roll) != {"flag", "percent", "text"}):
            raise KeyError("the saved state of a rollout has 'flag', 'percent' and 'text'")
        if roll is not None:
            if self._roll is None or self._roll.flag != roll["flag"]:
                raise _store.error("InvalidInputError", "what was saved has this rollout: start it "
                                   "first", f"rollout {roll['flag']!r}")
            roll = self._roll.restored(self, roll)
        self._slot.restore(saved["state"])
        self._ticks = ticks
        if self.state in WITHOUT_SEED:
            self._drop()
        elif roll is not None:
            self._roll_on(roll)

    def _loaded(self, keys):
        """After load_state_dict: a seed that still waits for its kernel has its values."""
        if self._plan is not None:
            self._plan.init = None
        self._bind()

    def decision(self):
        """What the last tick decided, as bytes for apply() in other processes, in place of their
        tick."""
        rung = self._roll.rollout.stats()["rung"] if self._roll else ""
        return f"{self._ticks}\n{rung}\n{self._slot.decision()}".encode()

    def apply(self, decision):
        """Takes a decision over. With a function it is torch.nn.Module.apply."""
        if not isinstance(decision, bytes):
            return super().apply(decision)
        try:
            ticks, rung, text = decision.decode().split("\n", 2)
            ticks = _ticks(int(ticks))
            if rung and rung not in RUNGS:
                raise ValueError(rung)
        except ValueError:
            raise _store.error("InvalidInputError", "it is no decision of a slot",
                               "apply") from None
        if self._plan is not None:
            self._receive()
        self._slot.apply(text)
        self._ticks = ticks
        if self.state in WITHOUT_SEED:
            self._drop()
        elif self._roll is not None and rung:
            self._roll.follow(rung)
        return None

    def __getstate__(self):
        if self._plan is not None:
            raise _store.error("UnsupportedError", "its seed still waits for its kernel: copy or "
                               "pickle the slot when it has come", f"slot {self._given[2]!r}")
        kept = {key: value for key, value in self.__dict__.items() if key not in OWN}
        return {**kept, "_saved": self._slot.save(), "_rolled": self._roll and self._roll.kept()}

    def __setstate__(self, state):
        saved, rolled = state.pop("_saved"), state.pop("_rolled")
        super().__setstate__(state)
        self._open()
        if self._seed is not None:
            self._slot.plant(self._seed, self._module)
        self._slot.restore(saved)
        self._slot.events()
        self._bind()
        if rolled is not None:
            self._roll_on(_Roll(self, *rolled))

    def __deepcopy__(self, memo):
        """Copies parameters and the state, and shares kernels."""
        shared = [self._module] + ([self._roll.challenger] if self._roll else [])
        memo.update((id(each), each) for each in shared if each is not None)
        made = memo[id(self)] = self.__class__.__new__(self.__class__)
        made.__setstate__(copy.deepcopy(self.__getstate__(), memo))
        return made

    @property
    def state(self):
        return self._slot.state

    @property
    def alpha(self):
        return self._slot.alpha

    def command(self, kind, *, ticks=0, target=0.0, curve="linear"):
        """blend, hold, prune or fossilize, at the next tick."""
        self._slot.command(kind, ticks, target, curve)

    def events(self):
        """Those since the last call, each a dictionary."""
        if self._roll is not None:
            self._roll.tell()
        events, self._said = [*self._slot.events(), *self._said], []
        for event in events:
            if event["reason"].startswith(NO_KERNEL) and event["seed"] == self._refused[0]:
                event["reason"] = f"{NO_KERNEL}: {self._refused[1]}"
        events.sort(key=lambda event: event["tick"])
        return [{**event, "slot": self._given[2]} for event in events]


def _ticks(number):
    """A number of ticks, as a saved state has it."""
    if isinstance(number, bool) or not isinstance(number, int) or not 0 <= number < 1 << 63:
        raise _store.error("InvalidInputError", f"{number!r} is no number of ticks", "ticks")
    return number


def _number(text):
    """A number that follows from a name, in every process the same."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little")


class _Roll:
    """A slot's rollout."""

    def __init__(self, slot, challenger, flag, percent, sample_every, pairs, clock, saved=None):
        if not isinstance(flag, str):
            raise TypeError(f"flag is a name, not {flag!r}")
        self.slot, self.challenger, self.flag, self.percent = slot, challenger, flag, percent
        self._options = (sample_every, pairs, clock)
        self._reason = ""
        self.rollout = _urza._Rollout(slot._module, challenger, salt=_number(flag), saved=saved,
                                      sample_every=sample_every, pairs=pairs, clock=clock)

    def tick(self):
        if self.percent is None:
            self.rollout.tick()
        self.tell()

    def tell(self):
        """Changes of the rung become events of the slot."""
        for before, after, reason in self.rollout.changes():
            self._reason = reason
            self.slot._say("rollout", reason, before, after)

    def follow(self, rung):
        """Another process decided. One that rolled back here saw what is wrong."""
        here = self.rollout.stats()["rung"]
        if here not in (rung, "rolled back"):
            self.rollout.set(rung, "another rank decided")
        self.tell()

    def state(self):
        self.tell()
        stats = self.rollout.stats()
        ran = stats["arm_calls"]
        return {"rung": stats["rung"],
                "arm_calls": {"champion": stats["calls"] - ran, "challenger": ran},
                "pairs": stats["pairs"], "slower": stats["slower"],
                "e_value": math.exp(min(stats["log_e"], 700)), "errors": stats["failures"],
                "reason": self._reason}

    def saved(self):
        return {"flag": self.flag, "percent": self.percent, "text": self.rollout.save()}

    def restored(self, slot, saved):
        return _Roll(slot, self.challenger, self.flag, saved["percent"], *self._options,
                     saved=saved["text"])

    def kept(self):
        """Arguments of a copy, behind the slot."""
        return (self.challenger, self.flag, self.percent, *self._options, self.rollout.save())
