"""Search: vary constructor arguments of an estimator, and nothing else."""
