"""Plans: everything public about a run of secure sums, fixed and checked before it starts."""
