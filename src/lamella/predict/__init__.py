"""Prediction: every patch gets its probabilities, every slide a heatmap and a score."""

REVISION = 2
