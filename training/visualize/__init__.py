"""Pictures of what a trained network answers and sees.

A module a family of pictures, each giving numbers; ``drawing`` turns numbers into pictures, ``gallery`` has
them all made, ``report`` binds them to one page.
"""
