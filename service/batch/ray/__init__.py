"""Jobs on a Ray cluster: inputs are cut into shards, and workers turn each into a part of the output."""
