"""Maps of labels, and the poses found with them."""
