"""Everything both tasks share about training: runtime, one fit, estimators' manners."""
