"""What dropouts cost: whole runs with none, 5 % and 20 % of the clients away from every round."""
