"""APX: governed API products in front of slow, costly or sensitive backends."""
