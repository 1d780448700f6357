"""Audit: what a lake's figures are, and whether they moved since the last time (SPEC section 8).

    phases → metrics → drift table → baseline, appended

`audit_lake` runs it all; the parts stand by themselves.
"""
