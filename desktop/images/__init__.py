"""`clearcall image`: pictures in files through the student, many at a time.

`finding` lists the pictures, `places` says where each goes, `conversion` does one, `batch` does all
side by side, `report` tells. Decoding and encoding themselves are `service.picture_options`.
"""
