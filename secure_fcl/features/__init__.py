"""Public features: what closed forms sum and networks may be shown, fixed before any data is seen."""
