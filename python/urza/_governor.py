"""urza.Governor: weights and optimizer state go back where a loss explodes. Imports PyTorch."""
import copy

import torch

from . import _urza


def _tensors(model):
    """Weights and buffers, each once."""
    return {id(each): each for each in (*model.parameters(), *model.buffers())}.values()


def _kept(value):
    return value.detach().clone() if isinstance(value, torch.Tensor) else copy.deepcopy(value)


def _is_there(now, then):
    return isinstance(now, torch.Tensor) and isinstance(then, torch.Tensor) and \
        now.shape == then.shape and now.dtype == then.dtype and now.device == then.device


class Governor:
    """Watches a training's loss (include/urza/governor.h says what explodes).

        if governor.observe(loss):   # before optimizer.step()
            continue                 # weights and optimizer state are the last snapshot's again

    model, optimizer: what goes back, weights, buffers and the optimizer's state: its tensors, also
        those that it made later, and numbers such as `step`. Its groups (learning rates) stay.
    snapshot_every: so many losses, the first snapshot is taken now.
    """

    def __init__(self, model, optimizer, *, snapshot_every=100):
        if not isinstance(model, torch.nn.Module) or \
                not isinstance(optimizer, torch.optim.Optimizer):
            raise TypeError("a governor takes a torch.nn.Module and its optimizer of torch.optim")
        self.model, self.optimizer = model, optimizer
        self._watch = _urza._Governor(snapshot_every=snapshot_every)
        self._take()

    @torch.no_grad()
    def _take(self):
        self._weights = {id(each): (each, each.detach().clone()) for each in _tensors(self.model)}
        self._state = {key: {name: _kept(value) for name, value in state.items()}
                       for key, state in self.optimizer.state.items()}

    @torch.no_grad()
    def _take_new(self):
        """Weights that came since the snapshot, as a seed's do, go back to what they are now."""
        for each in _tensors(self.model):
            if id(each) not in self._weights:
                self._weights[id(each)] = (each, each.detach().clone())

    @torch.no_grad()
    def _restore(self):
        for each, then in self._weights.values():
            each.copy_(then)
        for key in list(self.optimizer.state):
            if key not in self._state:
                del self.optimizer.state[key]
        present = {id(p) for group in self.optimizer.param_groups for p in group["params"]}
        for key, then in self._state.items():
            if isinstance(key, torch.Tensor) and id(key) not in present:
                continue  # the optimizer has it no more
            now = self.optimizer.state[key]
            for name in list(now):
                if name not in then:
                    del now[name]
            for name, value in then.items():
                if _is_there(now.get(name), value):
                    now[name].copy_(value)
                else:
                    now[name] = _kept(value)

    def observe(self, loss):
        """loss: a number, or a tensor of one. True: it exploded, and all is as at the last
        snapshot; leave this step out."""
        loss = loss.detach() if isinstance(loss, torch.Tensor) else loss
        exploded, snapshot = self._watch.observe(float(loss))
        if exploded:
            self._restore()
        elif snapshot:
            self._take()
        else:
            self._take_new()
        return exploded
