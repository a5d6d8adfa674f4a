"""Memory-Augmented Neural Network, and its LSTM baseline.

Adam Santoro, Sergey Bartunov, Matthew Botvinick, Daan Wierstra and Timothy Lillicrap. Meta-Learning with Memory-Augmented
Neural Networks. ICML 2016, arXiv:1605.06065.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from lightning_meta.core import Episode, Examples, InputError, Outcome, Predictor, prediction_loss
from lightning_meta.learners._embedding import LABELS_ARE_INPUTS, EmbeddingLearner, check_outputs, label_codes
from lightning_meta.nn.embed import embed, feature_width
from lightning_meta.nn.memory import LeastRecentlyUsedAccess, MemoryState


class MANN(EmbeddingLearner):
    """Memory-Augmented Neural Network, an LSTM that stores examples in an external memory as it reads them.

    theta: an embedding network and an LSTM with an external memory. phi: the state of both after the support set was read in
    sequence, x_t together with the label of the example before, y_{t-1} (section 2.1).

    So at each step it predicts a label before it sees it: a class that appears for the first time can only be guessed, among
    the labels not yet used. The loss is the mean over all steps (the paper's), where each query is one more step. `shots` are
    the presentations of a class.

    Args:
        backbone: Any module from [n, *shape] to features [n, d]; the paper has none and reads the pixels.
        outputs: Exact ways of the tasks, or dimensions of a regression target.
        hidden: Units of the LSTM.
        rows: Rows of the memory, at least as many as a support set has examples (what is read stays longest; the rest is
            overwritten sooner). 0 is the paper's baseline, the LSTM alone.
        columns: Width of a row of the memory.
        reads: Number of read heads.
        decay: Factor gamma by which the usage of a row fades at each step.
        features: Width d of the features, where the backbone has no `out_features` that says it.
    """

    label_dependence = LABELS_ARE_INPUTS
    small: ClassVar[dict[str, Any]] = {"hidden": 40, "rows": 32, "columns": 12}

    def __init__(
        self,
        backbone: nn.Module,
        outputs: int,
        hidden: int = 200,
        rows: int = 128,
        columns: int = 40,
        reads: int = 4,
        decay: float = 0.99,
        features: int | None = None,
    ):
        super().__init__(backbone)
        if min(hidden, columns, reads) < 1 or rows < 0 or 0 < rows < reads or not 0 <= decay <= 1:
            raise InputError(
                f"hidden {hidden}, columns {columns}, reads {reads} must be 1 or more, rows {rows} 0 or at least `reads`,"
                f" decay {decay} in 0..1"
            )
        inputs = feature_width(backbone, features) + outputs
        self.cell = LeastRecentlyUsedAccess(inputs, hidden, rows, columns, reads, decay)
        self.outputs = outputs
        self.head = nn.Linear(self.cell.out_features, outputs)

    def check(self, support: Examples) -> None:
        check_outputs(self, support, self.outputs)
        if 0 < self.cell.rows < support.x.shape[1]:
            raise InputError(
                f"the support set has {support.x.shape[1]} examples, more than the {self.cell.rows} rows of MANN's memory:"
                " give it more rows, or tasks of fewer shots"
            )

    def condition(self, support: Examples) -> "Memory":
        return self.read(support)[1]

    def read(self, support: Examples) -> tuple[Tensor, "Memory"]:
        """Predictions [tasks, n, outputs] for embedded examples, each before its label is seen; and what was retained."""
        known = label_codes(support, self.outputs)
        before = torch.cat([torch.zeros_like(known[:, :1]), known[:, :-1]], dim=1)
        steps = torch.cat([support.x, before], -1)
        state, outputs = self.cell.start(steps[:, 0]), []
        for step in steps.unbind(1):
            output, state = self.cell(step, state)
            outputs.append(output)
        return self.head(torch.stack(outputs, dim=1)), Memory(self, state, known[:, -1])

    def embedded_loss(self, episode: Episode) -> Outcome:
        in_turn, phi = self.read(episode.support)
        prediction = phi(episode.query.x)
        loss = prediction_loss(torch.cat([in_turn, prediction], 1), torch.cat([episode.support.y, episode.query.y], 1))
        return Outcome(loss, prediction)

    def predict_in_turn(self, support: Examples) -> Tensor:
        self.check(support)
        return self.read(Examples(embed(self.backbone, support.x), support.y))[0]


@dataclass(frozen=True, eq=False)
class Memory(Predictor):
    """phi of a MANN: the `state` of each task, and the code of the last label [tasks, outputs], which is still to be fed."""

    learner: MANN
    state: MemoryState
    last: Float[Tensor, "tasks outputs"]

    def __call__(self, x: Float[Tensor, "tasks n d"]) -> Float[Tensor, "tasks n outputs"]:
        n = x.shape[1]
        step = torch.cat([x, self.last.unsqueeze(1).expand(-1, n, -1)], -1)
        state = MemoryState(*(part.repeat_interleave(n, 0) for part in self.state))  # every query is the next step
        output, _ = self.learner.cell(step.flatten(0, 1), state)
        return self.learner.head(output).view(len(x), n, -1)
