"""The supervisor process, a client in Python, and the command line.

General layout: `taking`, `guardian` and `processes` are about processes; `link` is frames
on descriptors; `calls`, `waiting`, `dispatch`, `deadlines` and `lifecycle` decide without
I/O; `switchboard` applies the decisions to every open call, `slots` keeps the workers;
`server` builds all of it.
"""
