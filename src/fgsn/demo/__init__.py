"""fgsn demo: the whole chain on the synthetic town."""
