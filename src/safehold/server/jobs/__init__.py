"""What a server does by itself: each job may be begun twice, cut off at any point, and run on two servers at once."""
