"""`clearcall camera`: capture, sharpen here or on a server, show, pass on, record.

A thread for each step and one slot between two: the newest frame takes the place of one that
waits, so nothing queues and nothing is late. `session` puts the steps together.
"""
