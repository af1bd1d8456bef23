"""Losses and the two training loops: supervised (pretrain) and self-supervised (train)."""
