"""Parametric objects of the synthetic dataset: what their surfaces are made of, and a table of categories."""
