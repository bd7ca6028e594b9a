"""What the numbers of finished studies say."""
