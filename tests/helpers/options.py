"""The options of a small run, as the command composes them."""

OPTIONS = {
    "loss": {"_target_": "experiments.losses.ce", "_partial_": True},
    "model": {"_target_": "experiments.models.softmax", "_partial_": True},
    "data": {"_target_": "experiments.data.digits", "_partial_": True},
    "optimizer": {"_target_": "experiments.optimizers.sgd", "_partial_": True},
    "scheduler": {"_target_": "experiments.schedulers.constant", "_partial_": True},
}
