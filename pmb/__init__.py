"""Poor Man's BERT Lab: how many layers of a pre-trained encoder can be thrown away, and what that brings."""

__version__ = "0.1.0"
