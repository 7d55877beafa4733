"""What this machine can do for Clearcall, and what stands in the way.

Each module looks at one side of it and imports what it looks at only then, so that a broken package
is a finding and not a traceback.
"""
