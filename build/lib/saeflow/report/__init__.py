"""Pages and figures; computes no statistic."""
