"""One optimizer update: gradients of this rank's rows, their sum over all ranks, the update."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from insitu.errors import ConfigurationError
from insitu.tensorflow.patience import Patience
from insitu.tensorflow.strategy import add, inner, peers

_ADDING: Final = "adding gradients"

LossOf = Callable[[Mapping[str, Any]], Any]


class Step:
    """The updates along one loss function, compiled at its first batch.

    Gradients are taken outside of the strategy: what happens in there has to happen on all ranks
    alike, and a rank that ran dry takes none. They are summed before the optimizer sees them, so
    that clipping them means what it does in one process.

    Args:
        tf: TensorFlow.
        strategy: Over all ranks.
        model: With `trainable_variables`, made in the strategy's scope.
        optimizer: One of Keras, likewise.
        loss_of: The SUM of the losses of rows, from the dictionary of their columns.
        spec: The type of that dictionary.
        patience: How long the sum over all ranks may take.

    Raises:
        ConfigurationError: the loss is no single number, is a mean, or depends on nothing that is
            trained.
    """

    def __init__(
        self,
        tf: Any,
        strategy: Any,
        model: Any,
        optimizer: Any,
        loss_of: LossOf,
        spec: Any,
        patience: Patience,
    ) -> None:
        self._tf = tf
        self._strategy = strategy
        self._optimizer = optimizer
        self._patience = patience
        self._loss_of = loss_of
        self._trained = list(model.trainable_variables)
        self._used: list[Any] = []
        self._mean = False
        self._gradients = tf.function(
            self._take_gradients, input_signature=[spec, tf.TensorSpec((), tf.int64)]
        )
        # Traced on all ranks, also on those without rows: it tells which variables are used.
        loss, _ = self._gradients.get_concrete_function().structured_outputs
        if loss.shape.rank != 0:
            raise ConfigurationError(
                f"the loss has the shape {tuple(loss.shape)}: it has to be one number, the sum "
                "over this rank's rows (tf.reduce_sum)"
            )
        if self._mean:
            raise ConfigurationError(
                "the loss is a mean over this rank's rows: it has to be their sum (tf.reduce_sum). "
                "The step divides by the rows of the whole batch"
            )
        if not self._used:
            raise ConfigurationError("the loss depends on none of the model's trainable variables")
        self._update = tf.function(self._sum_and_update)

    def gradients(
        self, columns: Mapping[str, Any], rows: int, rows_global: int
    ) -> tuple[float, Sequence[Any]]:
        """The loss of this rank's rows, and its part of the gradient of the batch's mean loss;
        zeros where it has no rows.
        """
        tf = self._tf
        if rows:
            total, gradients = self._gradients(columns, tf.constant(rows_global, tf.int64))
            return float(total), gradients
        return 0.0, [tf.zeros(v.shape, inner(tf, v).dtype) for v in self._used]

    def update(self, gradients: Sequence[Any]) -> None:
        """Moves the variables along the sum of `gradients` over all ranks.

        Raises:
            PeerLost: another rank went away.
        """
        with peers(self._tf, _ADDING):
            self._patience(lambda: self._update(gradients), _ADDING)

    def _take_gradients(self, columns: Mapping[str, Any], rows_global: Any) -> Any:
        tf = self._tf
        own = self._strategy.experimental_local_results
        sources = [own(inner(tf, variable))[0] for variable in self._trained]
        with tf.GradientTape() as tape:
            loss = tf.convert_to_tensor(self._loss_of(columns))
            self._mean = loss.op.type == "Mean"  # It is being traced: there is a graph.
            mean = loss / tf.cast(rows_global, loss.dtype)
        found = tape.gradient(mean, sources)
        used = [gradient is not None for gradient in found]
        self._used = [v for v, taken in zip(self._trained, used, strict=True) if taken]
        dense = [tf.convert_to_tensor(gradient) for gradient in found if gradient is not None]
        return loss, dense

    def _sum_and_update(self, gradients: Any) -> None:
        total = add(self._tf, self._strategy, gradients)
        self._optimizer.apply_gradients(list(zip(total, self._used, strict=True)))


@dataclass(slots=True)
class Held:
    """What the batches of one update add up to on this rank. `rows_global` are those of all ranks,
    by which each batch's gradient is weighted.
    """

    step: Step
    loss: float = 0.0
    rows: int = 0
    rows_global: int = 0
    _sum: Sequence[Any] | None = None

    def add(self, columns: Mapping[str, Any], rows: int, rows_global: int) -> None:
        loss, gradients = self.step.gradients(columns, rows, rows_global)
        if self._sum is None:
            self._sum = gradients
        else:
            before = self.rows_global / (self.rows_global + rows_global)
            self._sum = [
                old * before + new * (1.0 - before)
                for old, new in zip(self._sum, gradients, strict=True)
            ]
        self.loss += loss
        self.rows += rows
        self.rows_global += rows_global

    @property
    def gradients(self) -> Sequence[Any]:
        """Of the mean loss over all rows of all batches."""
        return self._sum or ()
