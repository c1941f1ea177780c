"""Batch normalization with few passes through memory."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import keras


class FusedBatchNormalization(keras.layers.BatchNormalization):
    """`keras.layers.BatchNormalization` in float32 over [B, H, W, C], per channel C, with a gradient of its own.

    Keras computes the variance in a second pass after the mean, and JAX derives a gradient of seven reductions from
    that. Here one pass gives both, and the gradient has two reductions. Output and moving statistics equal Keras's up
    to rounding error.
    """

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        if not training:
            return super().call(inputs, training=False)
        outputs, mean, variance = normalized(inputs, self.gamma.value, self.beta.value, self.epsilon)
        keep = self.momentum
        self.moving_mean.assign(self.moving_mean * keep + mean * (1 - keep))
        self.moving_variance.assign(self.moving_variance * keep + variance * (1 - keep))
        return outputs


@partial(jax.custom_vjp, nondiff_argnums=(3,))
def normalized(inputs: Any, gamma: Any, beta: Any, epsilon: float) -> tuple[Any, Any, Any]:
    """Return the normalized inputs [..., C], and the mean and variance [C] of each channel.

    Only the first of them has a gradient: the moving statistics are not trained through.
    """
    return _forward(inputs, gamma, beta, epsilon)[0]


def _forward(inputs: Any, gamma: Any, beta: Any, epsilon: float) -> tuple[tuple[Any, Any, Any], Any]:
    values = inputs.astype(jnp.float32)
    count = values.size // values.shape[-1]
    total, squares = _sums(values, jnp.square(values))
    mean = total / count
    # Rounding may bring the variance of a constant channel below 0.
    variance = jnp.maximum(squares / count - jnp.square(mean), 0)
    inverse = jax.lax.rsqrt(variance + epsilon)
    outputs = (values - mean) * (gamma * inverse) + beta
    return (outputs.astype(inputs.dtype), mean, variance), (inputs, mean, inverse, gamma)


def _backward(epsilon: float, kept: Any, upstream: Any) -> tuple[Any, Any, Any]:
    inputs, mean, inverse, gamma = kept
    gradient = upstream[0].astype(jnp.float32)
    count = gradient.size // gradient.shape[-1]
    standardised = (inputs.astype(jnp.float32) - mean) * inverse
    to_beta, to_gamma = _sums(gradient, gradient * standardised)
    to_inputs = (gamma * inverse) * (gradient - (to_beta + standardised * to_gamma) / count)
    return to_inputs.astype(inputs.dtype), to_gamma, to_beta


def _sums(one: Any, other: Any) -> Any:
    """Return the sums [C] of two arrays [..., C]. As one reduction, a GPU takes half as many launches for it."""
    return jax.lax.reduce(
        (one, other),
        (jnp.float32(0), jnp.float32(0)),
        lambda sums, values: (sums[0] + values[0], sums[1] + values[1]),
        tuple(range(one.ndim - 1)),
    )


normalized.defvjp(_forward, _backward)
