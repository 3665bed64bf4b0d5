"""The sweepers and launchers of the project, found by Hydra since experiments/ is on its path."""
