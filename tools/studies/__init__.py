"""What the studies compare, what they keep of a run, and their tables: libraries of the tools that start them."""
