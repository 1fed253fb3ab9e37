"""Effective policy -> flows: one module per stage of the pipeline.

`tables.py` names every table, register and flag once; docs/pipeline.md draws
them. Egress and ingress are seen from the VM, as everywhere in xsisolate.
"""
