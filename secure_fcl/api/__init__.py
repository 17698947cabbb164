"""What `secure_fcl.run`, `.open` and their like do, and what they return; the names stand in `secure_fcl` itself."""
