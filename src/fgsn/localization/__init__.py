"""Camera poses of queries from a map with labels: SSMC, GSMC, PFSL, and the files around them."""
