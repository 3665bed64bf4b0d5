"""Settings as a command composes them."""

from __future__ import annotations

from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from experiments import config
from experiments.config import Settings
from helpers.commands import ROOT


def composed(*overrides: str) -> tuple[DictConfig, dict[str, str]]:
    """The command's config, and the option chosen in each group."""
    config.register()
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        cfg = compose("config", list(overrides), return_hydra_config=True)
        HydraConfig.instance().set_config(cfg)
        choices = dict(cfg.hydra.runtime.choices)
    del cfg.__dict__["_content"]["hydra"]
    return cfg, choices


def settings(*overrides: str) -> Settings:
    return config.read(*composed(*overrides))


BASE = settings("data=digits")
