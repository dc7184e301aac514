"""What the engines promise themselves: speed beside peers, and what their precisions change."""
