"""Models: the networks, and the step from stored pixels to a network's input."""
