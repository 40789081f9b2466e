"""Exchanging the login of a broker or the database while everything runs.

For a while both are let in, the old and the new: a secret is changed in place, everyone moves over and is seen to
have moved, and only a later call retires the old one. Each step can be done again, so that a rotation that was cut
short goes on.
"""
