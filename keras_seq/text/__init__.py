"""Text classification: raw strings -> token ids -> network -> labels."""
