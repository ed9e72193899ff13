"""urza.Slot: a place in a network of PyTorch where a graft learns, is blended in, and is kept or
taken out. Imports PyTorch; docs/python.md has the part for users."""
import torch

from . import _ops, _urza, load

WITHOUT_SEED = ("DORMANT", "PRUNED", "EMBARGOED", "RESETTING")


def _values(module, index, info, zero):
    shape, dtype, data = info.shape, getattr(torch, info.dtype), module._param_bytes(index)
    if zero or not data:
        return torch.zeros(shape, dtype=dtype)
    return torch.frombuffer(bytearray(data), dtype=dtype).reshape(shape)


def _parameters(module, init):
    """A module with a graft's parameters, dotted names nested; and these in the graft's order."""
    last = module.graft["last"] if init == "zero" and module.graft else ()
    top, order = torch.nn.Module(), []
    for index, info in enumerate(module.params):
        *path, name = info.name.split(".")
        inner = top
        for step in path:
            if step not in inner._modules:
                inner.add_module(step, torch.nn.Module())
            inner = inner._modules[step]
        order.append(torch.nn.Parameter(_values(module, index, info, info.name in last)))
        inner.register_parameter(name, order[-1])
    return top, tuple(order)


class _Call(torch.autograd.Function):
    """y of h and the seed's parameters."""

    @staticmethod
    def forward(ctx, slot, step, factors, h, *params):
        learns = any(ctx.needs_input_grad[3:])
        y, tape = _run(slot, step, h, params, factors, learns)
        ctx.slot, ctx.tape, ctx.used = slot, tape, False
        ctx.save_for_backward(h, *params, *(() if y is h else (y,)))
        return h.view_as(h) if y is h else y

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, dy):
        if ctx.used:
            raise RuntimeError("a slot's tape is used once: retain_graph does not keep it")
        params = ctx.saved_tensors[1:]  # looks whether anything was changed in place
        dparams = tuple(torch.empty_like(p) if want else None
                        for p, want in zip(params, ctx.needs_input_grad[4:]))
        tape, ctx.tape, ctx.used = ctx.tape, None, ctx.tape is not None
        dy = dy.contiguous()
        dh = torch.empty_like(dy) if tape is not None else None
        is_dy = ctx.slot.backward(tape, dy, dh, dparams)
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


class Slot(torch.nn.Module):
    """slot(h) gives h until a seed is planted; then its state decides (docs/layers.md).

    blend: "residual", "lerp", "multiply" or "gate"; seeds are grafts of that blend.
    isolate: while a seed blends, no gradients pass its input.
    name: for events and saved states. Further options are those of urza/layer.h: boost, curve,
        gradient_ratio, gain, random_seed, germinate_ticks, train_ticks, blend_ticks, hold_ticks,
        embargo_ticks, faults_most.
    """

    def __init__(self, blend="residual", isolate=True, name="", **options):
        super().__init__()
        self._slot = _urza._Slot(name=name, blend=blend, through=not isolate, **options)
        self._given = (blend, isolate, name, options)
        self._ticks = 0
        self._handle = _ops.add_slot(self)
        self._seed = None  # the name of the one whose parameters are here
        self._order = ()
        self.seeds = torch.nn.ModuleDict()

    def plant(self, package, name="seed", init="zero", **load_options):
        """Plants a graft in a DORMANT slot; returns the seed's number. package: a urza.Module, or
        what urza.load takes. init: "zero" makes the seed begin as nothing (its last layer's
        parameters are zeros), None keeps the package's values."""
        if init not in ("zero", None):
            raise ValueError(f"init is 'zero' or None, not {init!r}")
        if not isinstance(name, str) or not name or "." in name or hasattr(self.seeds, name):
            raise ValueError(f"a seed's name is text without dots, and no attribute: {name!r}")
        module = package if isinstance(package, _urza.Module) else load(package, **load_options)
        holder, order = _parameters(module, init)
        seed = self._slot.plant(name, module)
        self._drop()
        self.seeds[name], self._seed, self._order = holder, name, order
        return seed

    def _drop(self):
        if self._seed is not None:
            del self.seeds[self._seed]
            self._seed, self._order = None, ()

    def forward(self, h, factors=None):
        """factors: of alpha, one for each row of h; rows with 0 are h."""
        if torch.compiler.is_compiling():
            return self._traced(h, factors)
        if self._slot.state in WITHOUT_SEED:
            return h
        params = self._order
        if torch.is_grad_enabled() and (h.requires_grad or any(p.requires_grad for p in params)):
            return _Call.apply(self._slot, self._ticks, factors, h, *params)
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
        return _run(self._slot, self._ticks, h, params, factors, learns)

    def tick(self, loss=None, *, gain=None, host_norm=0.0, host_parameters=0):
        """Once for each step of the optimizer; returns the state. loss is for a governor and not
        looked at; the others are as in urza/layer.h."""
        state = self._slot.tick(gain=gain, host_norm=host_norm, host_parameters=host_parameters)
        self._ticks += 1
        if state in WITHOUT_SEED:
            self._drop()
        return state

    def get_extra_state(self):
        """Of state_dict: text and a number, beside the tensors."""
        return {"state": self._slot.save(), "ticks": self._ticks}

    def set_extra_state(self, saved):
        """Plants nothing: a seed of the saved name must be planted before."""
        if not isinstance(saved, dict) or set(saved) != {"state", "ticks"}:
            raise KeyError("the saved state of a slot has 'state' and 'ticks'")
        self._slot.restore(saved["state"])
        self._ticks = int(saved["ticks"])
        if self.state in WITHOUT_SEED:
            self._drop()

    def decision(self):
        """What the last tick decided, as bytes for apply() in other processes, in place of their
        tick."""
        return f"{self._ticks}\n{self._slot.decision()}".encode()

    def apply(self, decision):
        """Takes a decision over. With a function it is torch.nn.Module.apply."""
        if not isinstance(decision, bytes):
            return super().apply(decision)
        ticks, _, text = decision.decode().partition("\n")
        ticks = int(ticks)
        self._slot.apply(text)
        self._ticks = ticks
        if self.state in WITHOUT_SEED:
            self._drop()
        return None

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
        return [{**event, "slot": self._given[2]} for event in self._slot.events()]
