"""Jobs on several machines: inputs are cut into shares, workers turn each into a part of the output."""
