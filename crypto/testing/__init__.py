"""Laws of secure sums for any protocol: a bench, checks of one round, faults, mutations, and what stays hidden."""
