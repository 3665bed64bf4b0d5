"""What Hydra finds by itself because experiments/ is on its path: the sweeper of the project."""
