"""An audit of anyone's model from files: settings, checkpoints and examples in, verdicts and one record out."""
