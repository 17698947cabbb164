"""What a gradient strategy sends: each class declares an upload, fills it on the client and reads it on the server.

- upload: what every such class can do
- update: the update of a visit, private before it is sent, or a zero where nothing is summed; weights: its weight in
  the mean; visits: the training that makes it
- gradient_sum: one clipped gradient sum that gets its noise inside the secure sum
- persons: one vector of each client, clipped as a whole, where the unit is a person
- beside: the path of the steps and the memory's gradient, beside either of them
- fisher: Fisher information when a slot closes, with noise of the client's own or inside the sum
- choice: which of them a strategy has
"""
