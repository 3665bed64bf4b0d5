"""The weights of a network: which are its head's, and what their hashes are."""

from __future__ import annotations

import hashlib

from paddle import nn


def head_layer(network: nn.Layer, outputs: int) -> nn.Layer:
    """The head's layer; ValueError where there is none with a weight [features, outputs]."""
    name = head_prefix(network).removesuffix(".")
    layer = dict(network.named_sublayers(include_self=True)).get(name)
    weight = getattr(layer, "weight", None)
    if layer is None or weight is None or weight.shape[1:] != [outputs]:
        raise ValueError(
            "features: expected a network whose head is one linear layer, got another; define its "
            "last linear layer as the sublayer `head`"
        )
    return layer


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
