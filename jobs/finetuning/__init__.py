"""Supervised training from a pretrained encoder, or from random weights: classification and part segmentation."""
