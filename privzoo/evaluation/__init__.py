"""How sure a figure is: intervals, bars, shares by class and by subgroup, and what an epsilon means."""
