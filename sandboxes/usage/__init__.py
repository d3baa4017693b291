"""What sandboxes have used, counted once, and what that costs."""
