"""The uncertainty of figures: intervals, bars, shares by class and by subgroup, and what an epsilon means."""
