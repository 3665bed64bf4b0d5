"""The weights of a network: which are its head's, and what their hashes are."""

from __future__ import annotations

import hashlib
from typing import Any

import paddle
import paddle.nn.functional as F
from paddle import nn

from experiments.guards import check_number


def head_layer(network: nn.Layer, outputs: int, what: str) -> nn.Layer:
    """The head's layer, for what a loss needs of it.

    Raises:
        ValueError: There is none with a weight [features, outputs]; the message begins with `what`.
    """
    name = head_prefix(network).removesuffix(".")
    layer = dict(network.named_sublayers(include_self=True)).get(name)
    weight = getattr(layer, "weight", None)
    if layer is None or weight is None or weight.shape[1:] != [outputs]:
        raise ValueError(
            f"{what}: expected a network whose head is one linear layer, got another; define its "
            "last linear layer as the sublayer `head`"
        )
    return layer


def give_cosines(head: nn.Layer, scale: float) -> None:
    """Let a linear layer return `scale` times the cosines of its input and the weights per output.

    Its bias stays as it is. The gradient of an input of zeros alone is very large.
    """
    check_number("s", scale, above=0)

    def cosines(layer: nn.Layer, inputs: Any, _: paddle.Tensor) -> paddle.Tensor:
        return scale * F.normalize(inputs[0], axis=1) @ F.normalize(layer.weight, axis=0)

    head.register_forward_post_hook(cosines)


def head_prefix(network: nn.Layer) -> str:
    """How the names of the head's weights begin: of the sublayer `head`, or else of the last one.

    The last one is that with weights that the network defines last, at any depth; a network that
    is one such layer is all head.
    """
    names = [name for name, _ in network.named_parameters()]
    if any(name.startswith("head.") for name in names):
        return "head."
    return f"{names[-1].rpartition('.')[0]}.".removeprefix(".") if names else ""


def weight_hashes(network: nn.Layer) -> dict[str, str]:
    """SHA-256 of weights and buffers: `head_hash` of the head, `init_hash` of the others."""
    digests = {"init_hash": hashlib.sha256(), "head_hash": hashlib.sha256()}
    head = head_prefix(network)
    for name, value in network.state_dict().items():
        array = value.numpy()
        digest = digests["head_hash" if name.startswith(head) else "init_hash"]
        about = f"{name.partition('.')[2]} {array.dtype} {array.shape}"
        digest.update(about.encode() + array.tobytes())
    return {name: digest.hexdigest() for name, digest in digests.items()}
