"""Questions out to people and answers back: batches for annotation tools, and what they have answered for the store."""
