"""What the attack suite finds and what it costs, on digits and HAPT; every figure comes from running this."""
