"""A data set by name -> one memory-mapped array, its splits and label subsets."""
