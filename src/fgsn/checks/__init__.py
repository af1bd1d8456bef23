"""Find what is wrong with a data set, labelled images, a model or a run."""
