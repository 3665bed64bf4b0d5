"""What Hydra finds by itself because experiments/ is on its path.

The sweeper and the launchers of the project.
"""
