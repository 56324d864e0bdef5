"""Many calls of one kind after another, and whether anything grows with them."""
