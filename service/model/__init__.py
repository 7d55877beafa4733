"""The torch core: the student, its checkpoint file, and the one path from image to sharpened image."""
