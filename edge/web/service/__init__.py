"""What people do when something is wrong: banners, trials, checks, and what they hand to somebody else."""
