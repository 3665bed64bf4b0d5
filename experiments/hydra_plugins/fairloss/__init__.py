"""What Hydra finds by itself because experiments/ is on its path: the sweeper and the launchers of the project."""
