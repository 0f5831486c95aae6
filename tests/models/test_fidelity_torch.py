"""*kong2019_torch* against PyTorch's own layers. Slow: `make test-slow`, with PyTorch installed by hand.

(Its default wheel brings gigabytes of CUDA, so no extra installs it: `pip install torch --index-url
https://download.pytorch.org/whl/cpu`.)
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import mla_jax as mla
from mla_jax.models.multi_level import init_variables
from mla_jax.training.batches import Batch
from mla_jax.training.losses import binary_cross_entropy
from mla_jax.training.optimizer import make_optimizer
from mla_jax.training.state import TrainState, init_state
from mla_jax.training.step import train_step
from tests.models.test_fidelity import assert_alike, enable_x64

torch = pytest.importorskip("torch", reason="PyTorch is not installed (pip install torch)")

pytestmark = pytest.mark.slow

B, T, M, K, H = 24, 10, 128, 11, 16


class Published(torch.nn.Module):
    """Three blocks without bias, one attention head for the last two levels, a linear layer on both."""

    def __init__(self) -> None:
        super().__init__()
        nn = torch.nn
        self.input_norm = nn.BatchNorm1d(M)
        self.dense = nn.ModuleList(nn.Linear(n, H, bias=False) for n in (M, H, H))
        self.norm = nn.ModuleList(nn.BatchNorm1d(H) for _ in range(3))
        self.classify, self.attend = nn.Linear(H, K), nn.Linear(H, K)
        self.output = nn.Linear(2 * K, K)

    def pool(self, h: Any) -> Any:
        h = h.reshape(-1, T, H)
        v = torch.sigmoid(self.attend(h)).clamp(1e-7, 1 - 1e-7)
        return (v / v.sum(dim=1, keepdim=True) * torch.sigmoid(self.classify(h))).sum(dim=1)

    def forward(self, x: Any) -> Any:
        h = self.input_norm(x.reshape(-1, M))
        levels = []
        for dense, norm in zip(self.dense, self.norm, strict=True):
            h = torch.relu(norm(dense(h)))
            levels.append(h)
        joined = torch.cat([self.pool(levels[2]), self.pool(levels[1])], dim=1)
        return torch.sigmoid(self.output(joined))


def _places(model: Any) -> dict[str, tuple[Any, str]]:
    """Which PyTorch module, and which of its weights, belongs to a path of ours."""
    modules = {
        "input_norm": model.input_norm,
        "head_0/classify": model.classify,
        "head_0/attend": model.attend,
        "output": model.output,
        **{f"block_{i}/dense": m for i, m in enumerate(model.dense)},
        **{f"block_{i}/norm": m for i, m in enumerate(model.norm)},
    }
    names = {
        "kernel": "weight",
        "scale": "weight",
        "bias": "bias",
        "mean": "running_mean",
        "var": "running_var",
    }
    return {f"{m}/{ours}": (modules[m], theirs) for m in modules for ours, theirs in names.items()}


def _map(tree: Any, model: Any, function: Any) -> Any:
    places = _places(model)

    def at(path: Any, leaf: Any) -> Any:
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        module, weight = places[name]
        return function(getattr(module, weight), leaf, transposed=name.endswith("kernel"))

    return jax.tree_util.tree_map_with_path(at, tree)


def _setup(dtype: Any) -> tuple[Any, Any, Any, Any, Any, Any]:
    config = mla.preset("kong2019_torch")
    config = dataclasses.replace(
        config, model=dataclasses.replace(config.model, hidden_units=H, dropout_rate=0.0)
    )
    model = mla.build_model(config.model, K)
    rng = np.random.default_rng(1)

    def draw(path: Any, leaf: Any) -> np.ndarray:
        noise = rng.normal(size=leaf.shape)
        if path[-1].key in ("scale", "var"):
            noise = np.exp(0.3 * noise)
        return (noise * (0.1 if path[-1].key == "kernel" else 0.5)).astype(dtype)

    shapes = jax.eval_shape(lambda: init_variables(model, 0, M))
    variables = jax.tree_util.tree_map_with_path(draw, shapes)
    theirs = Published().to(torch.float64 if dtype == np.float64 else torch.float32)
    count = 0

    def put(weight: Any, leaf: Any, transposed: bool) -> None:
        nonlocal count
        count += 1
        with torch.no_grad():
            weight.copy_(torch.tensor(leaf.T if transposed else leaf))

    for collection in variables.values():
        _map(collection, theirs, put)
    assert count == len(list(theirs.parameters())) + 2 * 4  # means and variances of four norms
    embeddings = ((rng.integers(0, 256, (20, B, T, M)) - 128) / 128).astype(dtype)
    labels = (rng.random((20, B, K)) < 0.2).astype(dtype)
    return config, model, variables, theirs, embeddings, labels


def _value(weight: Any, _: Any, transposed: bool) -> np.ndarray:
    value = weight.detach().numpy()
    return value.T if transposed else value


def _gradient(weight: Any, _: Any, transposed: bool) -> np.ndarray:
    return _value(weight.grad, _, transposed)


def _train(
    config: Any, model: Any, variables: Any, embeddings: np.ndarray, labels: np.ndarray
) -> tuple[TrainState, jax.Array]:
    @jax.jit
    def train(state: Any) -> Any:
        def body(state: Any, batch: Any) -> Any:
            mask = jnp.ones((B, T), bool)
            step = Batch(batch[0], mask, batch[1])
            return train_step(model, make_optimizer(config.optim), state, step, jax.random.key(0))

        state, _ = jax.lax.scan(body, state, (embeddings, labels))
        return state, jax.nn.sigmoid(model.apply(state.variables, embeddings[0]))

    return train(init_state(variables, config.optim))


def test_outputs_statistics_and_gradients_are_those_of_pytorch() -> None:
    config, model, variables, theirs, embeddings, labels = _setup(np.float32)
    x, y = embeddings[0], labels[0]
    theirs.eval()
    probs = jax.nn.sigmoid(jax.jit(model.apply)(variables, x))
    np.testing.assert_allclose(probs, theirs(torch.tensor(x)).detach(), rtol=0, atol=1e-5)

    def loss(params: Any) -> Any:
        logits, updates = model.apply(
            {**variables, "params": params}, x, train=True, mutable=["batch_stats"]
        )
        value = binary_cross_entropy(logits, y)
        return value, (jax.nn.sigmoid(logits), updates["batch_stats"])

    grads, (train_probs, statistics) = jax.jit(jax.grad(loss, has_aux=True))(variables["params"])
    theirs.train()
    output = theirs(torch.tensor(x))
    torch.nn.functional.binary_cross_entropy(output, torch.tensor(y)).backward()
    np.testing.assert_allclose(train_probs, output.detach(), rtol=0, atol=1e-5)
    # The unbiased variance: the biased one would be off by 1 / 240.
    assert_alike(statistics, _map(statistics, theirs, _value), config.model, 1e-5)
    assert_alike(grads, _map(grads, theirs, _gradient), config.model, 1e-3)


def test_twenty_steps_of_adam_are_those_of_pytorch() -> None:
    with enable_x64(True):
        config, model, variables, theirs, embeddings, labels = _setup(np.float64)
        state, probs = _train(config, model, variables, embeddings, labels)
    optim = config.optim
    adam = torch.optim.Adam(
        theirs.parameters(), lr=optim.learning_rate, betas=(optim.b1, optim.b2), eps=optim.epsilon
    )
    theirs.train()
    for x, y in zip(embeddings, labels, strict=True):
        adam.zero_grad()
        output = theirs(torch.tensor(x))
        torch.nn.functional.binary_cross_entropy(output, torch.tensor(y)).backward()
        adam.step()
    theirs.eval()
    expected = theirs(torch.tensor(embeddings[0])).detach()
    np.testing.assert_allclose(probs, expected, rtol=0, atol=1e-9)
    params = jax.tree.map(np.asarray, state.params)
    assert_alike(params, _map(params, theirs, _value), config.model, 1e-9)
