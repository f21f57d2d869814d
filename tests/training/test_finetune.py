"""The loop: it trains chips, repeats itself to the bit, goes on after a kill, and refuses what it cannot train."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import rramsweep as rs
from rramsweep.crossbar.mapping import Differential
from rramsweep.datasets import Data, digits
from rramsweep.devices.streams import Stream
from rramsweep.effects import Gaussian, RelativeDrift
from rramsweep.metrics import Agreement, MeanSquaredError, Top1
from rramsweep.models import digits_mlp
from rramsweep.models.checkpoint import embedded_path, load_checkpoint
from rramsweep.training import FineTuning
from rramsweep.training import finetune as finetuning
from rramsweep.training.chip_network import ChipNetwork
from rramsweep.training.finetune import CHECKPOINT_FILE, Progress, Task, finetune, split

SPEC = rs.LayerSpec(
    rs.Device(1.0, 100.0, step_uS=0.1),
    Differential(),
    programming=Gaussian(0.03),
    relaxation=Gaussian(0.07),
    drift=RelativeDrift(0.2),
)
SHORT = FineTuning(epochs=3, batch_size=50, chips=3)


def task(spec: rs.LayerSpec = SPEC, **changed) -> Task:
    model = digits_mlp()
    load_checkpoint(model, embedded_path("digits_mlp"))
    return replace(Task(model.eval(), {"fc1": spec, "fc2": spec}, 0.0, digits("train", 300), Top1()), **changed)


def numbers() -> Task:
    torch.manual_seed(0)
    x = torch.randn(80, 6)
    data = Data(x, x @ torch.randn(6, 2), "numbers")
    model = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 2))
    return Task(model, {"0": SPEC, "2": SPEC}, 0.0, data, MeanSquaredError())


def weights(folder):
    return torch.load(folder / "weights.pt", weights_only=True)


def scores(progress):
    return [replace(epoch, seconds=0.0) for epoch in progress.epochs]


def test_step_lowers_the_loss_of_the_very_chip():
    digit = task()
    network = ChipNetwork(digit.model, digit.specs)
    optimizer = torch.optim.SGD(network.parameters, lr=0.05)
    losses = []
    for _ in range(6):
        loss = F.cross_entropy(network.chip(5)(digit.data.x), digit.data.y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.7 * losses[0]
    assert losses == sorted(losses, reverse=True)


def test_training_raises_the_score_of_chips_that_were_not_trained_on(tmp_path):
    progress = finetune(task(), SHORT, tmp_path)
    first, best = progress.epochs[0], progress.epochs[progress.best_epoch]
    assert first.chip_mean < 0.9
    assert best.chip_mean > 0.95
    assert best.steps == progress.best_epoch * 5
    assert best.chip_mean == max(epoch.chip_mean for epoch in progress.epochs)
    model = digits_mlp()
    load_checkpoint(model, tmp_path / "weights.pt")
    assert all(torch.equal(tensor, progress.best[name]) for name, tensor in model.state_dict().items())
    held_out = split(task().data, SHORT.held_out)[1]
    assert float(Top1().correct(model(held_out.x), held_out.y).double().mean()) == best.digital
    with torch.no_grad():
        chips = [ChipNetwork(model, task().specs).chip(seed)(held_out.x) for seed in SHORT.stopped_chips]
    assert [float(Top1().correct(y, held_out.y).double().mean()) for y in chips] == list(best.chips)


def test_weights_are_those_of_the_best_epoch_and_not_of_the_last(tmp_path, monkeypatch):
    means = iter([0.1, 0.1, 0.1, 0.9, 0.9, 0.9, 0.5, 0.5, 0.5])  # of three chips at each of three epochs
    chip, digital, kind = ChipNetwork.chip, ChipNetwork.digital, []
    monkeypatch.setattr(ChipNetwork, "chip", lambda self, *given: kind.append("chip") or chip(self, *given))
    monkeypatch.setattr(ChipNetwork, "digital", lambda self: kind.append("digital") or digital(self))
    monkeypatch.setattr(finetuning, "_score", lambda *given: next(means) if kind[-1] == "chip" else 1.0)
    progress = finetune(task(), replace(SHORT, epochs=2), tmp_path)
    assert progress.best_epoch == 1
    assert not torch.equal(progress.best["fc1.weight"], progress.weights["fc1.weight"])
    assert not torch.equal(progress.best["fc1.weight"], task().model.fc1.weight)
    assert torch.equal(weights(tmp_path)["fc1.weight"], progress.best["fc1.weight"])


def test_statistics_of_batch_norms_are_trained(tmp_path):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 20), nn.BatchNorm1d(20), nn.ReLU(), nn.Linear(20, 10)).eval()
    given = task(model=model, specs={"1": SPEC, "4": SPEC})
    progress = finetune(given, replace(SHORT, epochs=1, batch_size=239), tmp_path)  # of 240: one would be left
    mean = progress.weights["2.running_mean"]
    assert not torch.equal(mean, model[2].running_mean)
    assert mean.isfinite().all()
    assert int(progress.weights["2.num_batches_tracked"]) == 2


def test_kept_statistics_are_the_digital_networks_where_asked(tmp_path):
    torch.manual_seed(0)
    layers = [nn.Linear(64, 20), nn.BatchNorm1d(20), nn.ReLU(), nn.Linear(20, 10)]
    model = nn.Sequential(nn.Flatten(), *layers, nn.BatchNorm1d(10)).eval()
    given = task(model=model, specs={"1": SPEC, "4": SPEC})
    found = {}
    for kept in ("chips", "digital"):
        (tmp_path / kept).mkdir()
        found[kept] = finetune(given, replace(SHORT, batch_norm=kept), tmp_path / kept)
    chips, digital = found["chips"], found["digital"]
    assert [each.chips for each in chips.epochs] == [each.chips for each in digital.epochs]  # trained and picked alike
    assert all(torch.equal(tensor, digital.weights[name]) for name, tensor in chips.weights.items())
    assert digital.best_epoch > 0
    assert torch.equal(chips.best["1.weight"], digital.best["1.weight"])
    model.load_state_dict(digital.best)
    train, held_out = split(given.data, SHORT.held_out)
    assert float(Top1().correct(model(held_out.x), held_out.y).double().mean()) == digital.epochs[-1].digital
    steps = -(-len(train) // SHORT.batch_size)
    torch.optim.swa_utils.update_bn(train.x.tensor_split(steps), model)  # torch's own, of a network as it is
    for name, tensor in model.state_dict().items():
        torch.testing.assert_close(digital.best[name], tensor, msg=name)
    # Where errors are not clipped they add their variance, here to every channel.
    assert (chips.best["2.running_var"] > 1.1 * digital.best["2.running_var"]).all()


@pytest.mark.parametrize("batch_size", [239, 48])  # of 240 and of 241 inputs: one would be left
def test_no_batch_of_statistics_has_one_input(tmp_path, batch_size):
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 10), nn.BatchNorm1d(10)).eval()
    given = task(model=model, specs={"1": SPEC}, data=digits("train", 300 if batch_size == 239 else 301))
    progress = finetune(given, replace(SHORT, epochs=1, batch_size=batch_size, batch_norm="digital"), tmp_path)
    assert len(progress.epochs) == 2


def test_batches_of_one_input_are_refused_for_batch_norms(tmp_path):
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 10), nn.BatchNorm1d(10)).eval()
    with pytest.raises(
        ValueError, match="finetune.batch_size must be at least 2 for a network with batch norms, got 1"
    ):
        finetune(task(model=model, specs={"1": SPEC}), replace(SHORT, batch_size=1), tmp_path)


def test_the_network_as_it_came_keeps_its_statistics(tmp_path):
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 10), nn.BatchNorm1d(10)).eval()
    short = replace(SHORT, epochs=1, lr=1.0, batch_norm="digital")  # so that no epoch is better
    progress = finetune(task(model=model, specs={"1": SPEC}, metric=Agreement()), short, tmp_path)
    assert progress.best_epoch == 0
    assert all(torch.equal(tensor, progress.best[name]) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize("changed", [{}, {"noise": "gaussian"}, {"noise": "none"}, {"output_noise": 0.1}], ids=str)
def test_training_repeats_itself_and_depends_on_its_seed(tmp_path, changed):
    settings = replace(SHORT, epochs=1, **changed)
    found = []
    for i, each in enumerate([settings, settings, replace(settings, seed=1)]):
        (tmp_path / str(i)).mkdir()
        torch.manual_seed(i)  # the caller's generator plays no part
        found.append(finetune(task(), each, tmp_path / str(i)))
    assert scores(found[0]) == scores(found[1])
    assert all(torch.equal(tensor, found[1].weights[name]) for name, tensor in found[0].weights.items())
    assert not torch.equal(found[0].weights["fc1.weight"], found[2].weights["fc1.weight"])


def test_killed_run_goes_on_to_the_same_bits(tmp_path):
    for name in ("whole", "killed"):
        (tmp_path / name).mkdir()
    settings = replace(SHORT, distillation=0.3, output_noise=0.05)
    whole = finetune(task(), settings, tmp_path / "whole")

    def kill(step, steps):
        if step == 8:  # within the second epoch
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        finetune(task(), settings, tmp_path / "killed", kill)
    assert len(Progress.read(tmp_path / "killed" / CHECKPOINT_FILE).epochs) == 2
    steps, epochs = [], []
    resumed = finetune(task(), settings, tmp_path / "killed", lambda step, _: steps.append(step), epochs.append)
    assert steps == list(range(6, 16))
    assert [epoch.epoch for epoch in epochs] == [0, 1, 2, 3]
    assert scores(resumed) == scores(whole)
    for one, other in ((whole.weights, resumed.weights), (whole.best, resumed.best)):
        assert all(torch.equal(tensor, other[name]) for name, tensor in one.items())
    states = [progress.optimizer["state"] for progress in (whole, resumed)]
    assert all(torch.equal(states[0][i][key], states[1][i][key]) for i in states[0] for key in states[0][i])
    assert all(torch.equal(t, weights(tmp_path / "killed")[n]) for n, t in weights(tmp_path / "whole").items())


def test_finished_run_trains_nothing_when_it_is_called_again(tmp_path):
    once = finetune(task(), SHORT, tmp_path)
    again = finetune(task(), SHORT, tmp_path, lambda step, steps: pytest.fail("trained again"))
    assert again.epochs == once.epochs


def test_damaged_checkpoint_is_refused_with_the_remedy(tmp_path):
    finetune(task(), replace(SHORT, epochs=1), tmp_path)
    path = tmp_path / CHECKPOINT_FILE
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ValueError, match=rf"must be a complete checkpoint .*: remove {tmp_path} to begin again$"):
        finetune(task(), SHORT, tmp_path)


def test_control_draws_no_chip_in_its_steps(tmp_path, monkeypatch):
    drawn, draw = [], Stream.generator
    monkeypatch.setattr(Stream, "generator", lambda self: drawn.append(self) or draw(self))
    during = {}

    def step(number, steps):
        during[number] = len(drawn)

    finetune(task(), replace(SHORT, epochs=1, noise="none"), tmp_path, step)
    assert len(set(during.values())) == 1, "nothing is drawn between the first and the last step of an epoch"
    orders = [stream for stream in drawn if stream.name[:2] == ("finetune", "order")]
    assert [stream.name for stream in orders] == [("finetune", "order", "1")]
    stopped = [stream.seed for stream in drawn if stream.name[0] != "finetune"]
    assert set(stopped) == set(SHORT.stopped_chips), "what is drawn are the chips to stop on"


def test_control_trains_the_same_weights_whatever_the_point_has_of_errors(tmp_path):
    control = replace(SHORT, epochs=1, noise="none")
    found = []
    for i, spec in enumerate([SPEC, replace(SPEC, drift=RelativeDrift(0.4))]):
        (tmp_path / str(i)).mkdir()
        found.append(finetune(task(spec), control, tmp_path / str(i)))
    assert all(torch.equal(tensor, found[1].weights[name]) for name, tensor in found[0].weights.items())
    assert found[0].epochs[0].chips != found[1].epochs[0].chips


def test_each_step_has_a_chip_of_its_own(tmp_path, monkeypatch):
    seeds, chip = [], ChipNetwork.chip
    monkeypatch.setattr(ChipNetwork, "chip", lambda self, seed, *given: seeds.append(seed) or chip(self, seed, *given))
    finetune(task(), replace(SHORT, epochs=2), tmp_path)
    stop = list(SHORT.stopped_chips)
    trained = [SHORT.trained_chip(step) for step in range(10)]
    assert seeds == [*stop, *trained[:5], *stop, *trained[5:], *stop]


def test_patience_ends_the_training(tmp_path):
    settings = replace(SHORT, epochs=20, lr=1e-12, clip="none", patience=2)
    progress = finetune(task(), settings, tmp_path)
    assert (len(progress.epochs), progress.best_epoch) == (3, 0)
    assert all(torch.equal(t, weights(tmp_path)[n]) for n, t in task().model.state_dict().items())


def test_whole_distillation_leaves_labels_out(tmp_path):
    settings, digit = replace(SHORT, epochs=1, distillation=1.0), task()
    other = Data(digit.data.x, digit.data.y.roll(1), "wrong labels", 10)
    found = []
    for i, data in enumerate([digit.data, other]):
        (tmp_path / str(i)).mkdir()
        found.append(finetune(task(data=data), settings, tmp_path / str(i)))
    assert torch.equal(found[0].weights["fc1.weight"], found[1].weights["fc1.weight"])
    assert found[0].epochs[1].loss < 0.5


def test_numbers_are_trained_on_by_their_squared_error(tmp_path):
    wanted = numbers()
    assert wanted.loss_name == "mean squared error"
    progress = finetune(wanted, replace(SHORT, epochs=20, batch_size=16, lr=0.02), tmp_path)
    assert progress.epochs[progress.best_epoch].chip_mean < 0.6 * progress.epochs[0].chip_mean
    assert progress.epochs[progress.best_epoch].chip_mean == min(epoch.chip_mean for epoch in progress.epochs)


def test_metric_need_not_be_differentiable_and_compares_with_the_network_as_it_came(tmp_path):
    progress = finetune(task(metric=Agreement()), replace(SHORT, epochs=1), tmp_path)
    assert progress.epochs[0].digital == 1.0
    assert progress.epochs[1].chip_mean > progress.epochs[0].chip_mean


def test_caller_s_network_and_generator_are_left_alone(tmp_path):
    digit = task()
    before = {name: tensor.clone() for name, tensor in digit.model.state_dict().items()}
    torch.manual_seed(3)
    state = torch.random.get_rng_state()
    finetune(digit, replace(SHORT, epochs=1), tmp_path)
    assert all(torch.equal(tensor, before[name]) for name, tensor in digit.model.state_dict().items())
    assert torch.equal(state, torch.random.get_rng_state())


def test_held_out_inputs_are_the_same_for_every_run_and_never_trained_on():
    data = digits("train", 100)
    train, stop = split(data, 0.2)
    assert (len(train), len(stop)) == (80, 20)
    assert train.without(stop.x) is train
    assert torch.equal(split(data, 0.2)[1].x, stop.x)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (
            {"data": Data(torch.rand(30, 1, 8, 8), torch.zeros(30, dtype=torch.int64), "unlabelled", 10)},
            r"data.fitting must have labels to train on, of two classes at least, got 30 labels that are all 0: name",
        ),
        (
            {"data": Data(torch.rand(30, 1, 8, 8), torch.arange(30), "more classes", 30)},
            r"a network must give a logit for each label to be trained by cross-entropy, got \(4, 10\) for targets",
        ),
        (
            {"data": Data(torch.rand(30, 1, 8, 8), torch.rand(30, 3), "numbers")},
            r"a network must give outputs of shape \(N, 3\) to be trained by mean squared error, got \(4, 10\)",
        ),
        ({"data": digits("train", 2)}, r"finetune.held_out must leave an input to train on .*, got 0.2 of 2: name"),
    ],
)
def test_refuses_before_any_chip(tmp_path, monkeypatch, changed, message):
    monkeypatch.setattr(ChipNetwork, "chip", lambda self, seed: pytest.fail("a chip was made"))
    with pytest.raises(ValueError, match=f"^{message}") as error:
        finetune(task(**changed), SHORT, tmp_path)
    assert "\n" not in str(error.value)
    assert not list(tmp_path.iterdir())


def test_loss_that_is_not_finite_ends_the_training(tmp_path, monkeypatch):
    loss = finetuning._loss
    monkeypatch.setattr(finetuning, "_loss", lambda *given: loss(*given) * float("nan"))
    message = "^the loss and all weights must stay finite, but one is not at step 1: lower finetune.lr, or train on"
    with pytest.raises(ValueError, match=message):
        finetune(task(), SHORT, tmp_path)
