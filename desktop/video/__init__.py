"""Video files: decoded, sharpened and encoded side by side; all else in them is copied.

source.py      a file's frames, and the packets that are copied
sink.py        the new file
encoders.py    which encoder, with which settings
colour.py      YUV planes <-> RGB: a correction is added to the planes themselves
frames.py      decoded frames -> frames of the one size and format that is encoded
hdr.py         what HDR videos say of their screen, for the encoder
overlay.py     the speed, and the line between before and after
channel.py     bounded queues between threads
pipeline.py    the stages, and the threads that run them
conversion.py  a whole file, from its options to its summary
progress.py    the bar in the terminal
"""
