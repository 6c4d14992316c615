"""What trainers tell, and who may tell it."""
