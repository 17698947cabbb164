"""Does forgetting make old data private? Accuracy and membership on old tasks, strategy by strategy."""
