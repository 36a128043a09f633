"""What the commands do once their options are read; each loads what it needs when it runs."""
