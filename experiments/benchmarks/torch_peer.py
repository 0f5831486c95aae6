"""The same model and step in PyTorch, in its usual style: the peer of the step and of inference."""

from typing import Any

import numpy as np

from experiments.benchmarks.rows import NotMeasuredError, threads
from mla_jax.config import Config
from mla_jax.data.clips import ClipSet

try:
    import torch
    from torch import nn
except ImportError:
    torch = None


def require() -> None:
    """Raises NotMeasuredError without PyTorch."""
    if torch is None:
        raise NotMeasuredError("PyTorch is not installed")


def on_cpu() -> None:
    """Gives PyTorch the threads that JAX has."""
    require()
    torch.set_num_threads(threads())


def build(config: Config, num_features: int, num_classes: int) -> Any:
    """The multi-level model in the authors' form (`yu2018`), softmax attention; [B, T, M] -> [B, K]."""
    require()
    model = config.model
    units, stages = model.hidden_units, model.stages

    def norm(size: int) -> Any:
        return nn.BatchNorm1d(size, eps=model.norm_epsilon, momentum=1 - model.norm_momentum)

    class Head(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.classify, self.attend = (
                nn.Linear(units, num_classes),
                nn.Linear(units, num_classes),
            )
            self.classify_norm, self.attend_norm = norm(num_classes), norm(num_classes)

        def forward(self, h: Any, time: int) -> Any:
            f = torch.sigmoid(self.classify_norm(self.classify(h)))
            v = torch.softmax(self.attend_norm(self.attend(h)), dim=-1).clamp(1e-7, 1 - 1e-7)
            f, v = (x.view(-1, time, num_classes) for x in (f, v))
            return (f * v).sum(1) / v.sum(1)

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            sizes = [num_features] + [units] * sum(stages)
            self.input_norm = norm(num_features)
            self.dense = nn.ModuleList(map(nn.Linear, sizes[:-1], sizes[1:]))
            self.norms = nn.ModuleList(norm(units) for _ in sizes[1:])
            self.heads = nn.ModuleList(Head() for _ in stages)
            self.output = nn.Linear(len(stages) * num_classes, num_classes)
            self.output_norm = norm(num_classes)

        def forward(self, x: Any) -> Any:
            batch, time, features = x.shape
            h = self.input_norm(x.reshape(batch * time, features))
            levels, block = [], 0
            for count, head in zip(stages, self.heads, strict=True):
                for _ in range(count):
                    h = torch.relu(self.norms[block](self.dense[block](h)))
                    h = nn.functional.dropout(h, model.dropout_rate, self.training)
                    block += 1
                levels.append(head(h, time))
            return torch.sigmoid(self.output_norm(self.output(torch.cat(levels[::-1], 1))))

    return Model()


class Trainer:
    """Trains it on data that lies on a device, in batches drawn and gathered there."""

    def __init__(
        self, config: Config, clips: ClipSet, *, device: str = "cpu", compiled: bool = False
    ) -> None:
        self.device, self.batch_size = device, config.data.batch_size
        torch.backends.cuda.matmul.allow_tf32 = True  # as JAX does by default, on GPUs alone
        self.embeddings = torch.from_numpy(np.array(clips.embeddings)).to(device)
        self.labels = self._padded_labels(clips)
        self.num_classes = clips.num_classes
        self.model = build(config, clips.num_features, clips.num_classes).to(device).train()
        self.optimizer = torch.optim.Adam(self.model.parameters(), config.optim.learning_rate)
        self.loss_of = torch.compile(self._loss) if compiled else self._loss
        if compiled:
            self._compile()

    def _compile(self) -> None:
        """Raises NotMeasuredError where PyTorch cannot compile, as without a C compiler."""
        try:
            self.steps(1)
        except Exception as error:
            raise NotMeasuredError(f"torch.compile: {type(error).__name__}") from error

    def _padded_labels(self, clips: ClipSet) -> Any:
        counts = np.diff(clips.label_offsets)
        width = max(1, int(counts.max(initial=0)))
        ids = np.full((len(clips), width), clips.num_classes, np.int64)
        ids[np.arange(width) < counts[:, None]] = clips.label_ids
        return torch.from_numpy(ids).to(self.device)

    def _loss(self, rows: Any) -> Any:
        x = (self.embeddings[rows].float() - 128) / 128
        labels = torch.zeros(len(rows), self.num_classes + 1, device=self.device)
        labels = labels.scatter_(1, self.labels[rows], 1.0)[:, :-1]
        return nn.functional.binary_cross_entropy(self.model(x), labels)

    def steps(self, count: int) -> None:
        """Makes `count` steps, and waits for the last."""
        for _ in range(count):
            rows = torch.randint(len(self.embeddings), (self.batch_size,), device=self.device)
            self.optimizer.zero_grad(set_to_none=True)
            loss = self.loss_of(rows)
            loss.backward()
            self.optimizer.step()
        if self.device != "cpu":
            torch.cuda.synchronize()

    def predict(self, clips: ClipSet, batch_size: int) -> np.ndarray:
        """Clip probabilities, [num_clips, num_classes]."""
        self.model.train(False)
        found = np.empty((len(clips), self.num_classes), np.float32)
        with torch.inference_mode():
            for start in range(0, len(clips), batch_size):
                x = torch.from_numpy(np.array(clips.embeddings[start : start + batch_size]))
                found[start : start + batch_size] = self.model((x.float() - 128) / 128).numpy()
        return found
