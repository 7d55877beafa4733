"""The torch core.

The student, its checkpoint file, and the one path from image to sharpened image.
"""
