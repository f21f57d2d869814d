"""One tensor of whatever a network returns, and constant arguments of its forward."""

from __future__ import annotations

import copy
from collections import OrderedDict, namedtuple
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn

from rramsweep.errors import ValidationError
from rramsweep.models.forward import adapt, one_tensor, select
from rramsweep.network.arrays import private_copy

A, B = torch.arange(6.0).view(2, 3), torch.ones(2, 3)
Pair = namedtuple("Pair", "logits loss")


@dataclass
class Answer:
    logits: Tensor
    layers: tuple[Tensor, ...] = ()


FORMS = [
    ({"logits": A, "loss": B}, "logits"),
    (OrderedDict(loss=B, logits=A), "logits"),
    ({1: A, 0: B}, 1),
    ((B, A), 1),
    ([B, A], -1),
    ((B, A), "1"),
    (Pair(A, B), "logits"),
    (Pair(A, B), 0),
    (Answer(A), "logits"),
    (Answer(B, (B, A)), "layers.-1"),
    ({"states": (B, {"last": A})}, "states.1.last"),
    ({"head.logits": A}, "head.logits"),
]


@pytest.mark.parametrize(("output", "key"), FORMS)
def test_a_key_an_attribute_or_an_index_selects_the_tensor(output, key):
    assert select(output, key) is A


@pytest.mark.parametrize(
    ("output", "key", "says"),
    [
        ({"logits": A}, "logit", "got 'logit': it returns dict with logits: choose one with model.output=logits"),
        ((A, B), 2, "got 2: it returns tuple with 0, 1: choose one with model.output=0"),
        (Pair(A, B), "score", "got 'score': it returns Pair with logits, loss: choose one with model.output=logits"),
        (
            Answer(A, (B,)),
            "layers",
            "got 'layers': it returns Answer with logits, layers.0: choose one with model.output=logits",
        ),
        (A, "logits", "got 'logits': it returns Tensor: leave model.output null"),
        ("text", "logits", "got 'logits': it returns str: leave model.output null"),
    ],
)
def test_what_is_not_there_is_refused_with_what_there_is(output, key, says):
    with pytest.raises(ValidationError) as caught:
        select(output, key)
    assert str(caught.value) == f"model.output must be a tensor of what the network returns, {says}"


@pytest.mark.parametrize(
    ("output", "says"),
    [
        ({"loss": B, "logits": A}, "dict with loss, logits: choose one with model.output=logits"),
        ((B, A), "tuple with 0, 1: choose one with model.output=0"),
        (Pair(A, B), "Pair with logits, loss: choose one with model.output=logits"),
        (Answer(A, (B,)), "Answer with logits, layers.0: choose one with model.output=logits"),
        (None, "NoneType: wrap it in a module that returns what is scored"),
        ("text", "str: wrap it in a module that returns what is scored"),
    ],
)
def test_several_tensors_are_refused_with_their_names_and_the_remedy(output, says):
    assert one_tensor(A) is A
    with pytest.raises(ValidationError) as caught:
        one_tensor(output)
    assert str(caught.value) == f"a network must return one tensor, this one returns {says}"


class Options(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(3, 2)

    def forward(self, x, mask=None, double=False):
        y = self.fc(x) * (2 if double else 1)
        return {"logits": y if mask is None else y * mask, "loss": y.sum()}


class Anything(Options):
    def forward(self, x, use_cache=True, **kwargs):
        return {"logits": self.fc(x) * (2 if kwargs.get("double") else 1)}


@pytest.mark.parametrize("make", [Options, Anything])
def test_an_adapted_network_and_its_copies_return_the_tensor_with_the_arguments(make):
    plain = make().eval()
    adapted = copy.deepcopy(plain)
    adapt(adapted, "logits", {"double": True})
    for network in (adapted, copy.deepcopy(adapted), private_copy(adapted)):
        assert torch.equal(network(A), 2 * plain(A)["logits"])
        assert [name for name, _ in network.named_parameters()] == ["fc.weight", "fc.bias"]
    assert isinstance(plain(A), dict)


def test_nothing_is_added_where_nothing_is_given():
    network = Options()
    adapt(network)
    adapt(network, None, {})
    assert not network._forward_hooks
    assert not network._forward_pre_hooks


@pytest.mark.parametrize(
    ("make", "output", "forward", "says"),
    [
        (Options, True, None, r"model\.output must be a key, .*, got True: give model.output=logits, say, or null"),
        (Options, "", None, r"model\.output must be a key"),
        (Options, 0.5, None, r"model\.output must be a key, .*, got 0\.5"),
        (
            Options,
            None,
            "fast",
            r"model\.forward must hold named arguments .*, got 'fast': give \+model\.forward\.NAME",
        ),
        (Options, None, {1: 2}, r"model\.forward must hold named arguments"),
        (
            Options,
            None,
            {"use_cache": False},
            r"model\.forward\.use_cache must be an argument of Options\.forward: it has x, mask, double",
        ),
        (Options, None, {"duble": True}, r"model\.forward\.duble must .*: did you mean double\?"),
        (Anything, None, {"use_cach": True}, r"model\.forward\.use_cach must .*: did you mean use_cache\?"),
    ],
)
def test_what_cannot_be_adapted_is_refused(make, output, forward, says):
    with pytest.raises(ValidationError, match=says):
        adapt(make(), output, forward)


def test_an_argument_that_the_data_give_too_is_refused_before_it_is_overwritten():
    network = Options()
    adapt(network, None, {"mask": 1})
    with pytest.raises(ValidationError, match=r"model\.forward\.mask must not be an array of the data too: leave one"):
        network(A, mask=torch.ones(2, 1))
