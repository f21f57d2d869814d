"""Named streams: independent by name, the same for the same name, and blind to everything else."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from scipy import stats

from rramsweep.devices.streams import Stream

N = 100_000
BASE = Stream(5, ("conv1", "p", "drift"))
OTHERS = {
    "the other cell of the pair": Stream(5, ("conv1", "n", "drift")),
    "another stage": Stream(5, ("conv1", "p", "relaxation")),
    "another layer of the same shape": Stream(5, ("conv2", "p", "drift")),
    "the next seed": Stream(6, ("conv1", "p", "drift")),
    "a seed that agrees in its lower 32 bits": Stream(5 + 2**32, ("conv1", "p", "drift")),
    "a child": BASE.child("tail"),
    "a name that joins to the same text": Stream(5, ("conv1pdrift",)),
}

UNIFORM = [0.8064491152763367, 0.8829413652420044, 0.28761571645736694]
NORMAL = [0.9205026626586914, -2.0234146118164062, -0.8214772939682007]


@pytest.mark.parametrize("other", OTHERS.values(), ids=OTHERS.keys())
def test_streams_of_other_names_are_uncorrelated(other):
    a, b = BASE.normal((N,)).numpy(), other.normal((N,)).numpy()
    assert not np.array_equal(a, b)
    # Pearson r of independent samples has standard error 1/sqrt(N); rank correlation catches what r does not.
    assert abs(np.corrcoef(a, b)[0, 1]) < 4 / np.sqrt(N)
    assert abs(stats.spearmanr(a, b).statistic) < 4 / np.sqrt(N)
    assert abs(np.corrcoef(a**2, b**2)[0, 1]) < 4 / np.sqrt(N)


def test_a_stream_is_a_value():
    assert torch.equal(BASE.normal((64, 3)), Stream(5, ("conv1", "p", "drift")).normal((64, 3)))
    assert torch.equal(BASE.uniform((64,)), BASE.uniform((64,)))


def test_draws_follow_their_distributions():
    # False alarm 1e-4 each, seeds fixed.
    assert stats.kstest(BASE.normal((N,)).numpy(), stats.norm.cdf).pvalue > 1e-4
    assert stats.kstest(BASE.uniform((N,)).numpy(), stats.uniform.cdf).pvalue > 1e-4
    u = BASE.uniform((N,))
    assert u.min() >= 0
    assert u.max() < 1


def test_first_draws_of_many_seeds_are_uniform():
    # A state filled badly would leave the first numbers of neighbouring seeds alike.
    first = np.array([Stream(seed, ("a",)).uniform((1,)).item() for seed in range(3000)])
    assert stats.kstest(first, stats.uniform.cdf).pvalue > 1e-4
    assert abs(np.corrcoef(first[:-1], first[1:])[0, 1]) < 4 / np.sqrt(len(first))


def test_draws_ignore_threads_and_global_state():
    expected = BASE.normal((50_000,))
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        torch.manual_seed(123)
        state = torch.get_rng_state()
        assert torch.equal(BASE.normal((50_000,)), expected)
        assert torch.equal(torch.get_rng_state(), state), "the global generator must not be touched"
    finally:
        torch.set_num_threads(threads)


def test_values_are_those_of_this_version():
    # Written down so that an unnoticed change of the streams, which would make other chips, fails here. The last
    # bits of a normal draw depend on the vector instructions, hence the tolerance there and not for uniforms.
    assert Stream(0, ("conv1", "p", "programming")).uniform((3,)).tolist() == UNIFORM
    np.testing.assert_allclose(Stream(0, ("conv1", "p", "programming")).normal((16,))[:3].numpy(), NORMAL, rtol=1e-5)


def test_other_vector_instructions_agree_to_rounding():
    code = "from rramsweep.devices.streams import Stream; print(Stream(3, ('a',)).normal((64,)).tolist())"
    env = {**os.environ, "ATEN_CPU_CAPABILITY": "default"}
    out = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True).stdout
    np.testing.assert_allclose(eval(out), Stream(3, ("a",)).normal((64,)).numpy(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("seed", [-1, 2**63])
def test_refuses_a_seed_out_of_range(seed):
    with pytest.raises(ValueError, match="seed must lie in"):
        Stream(seed)
