"""What is wrong with a data set, a model or a run, before hours are spent on it."""
