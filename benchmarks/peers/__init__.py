"""The same work in other tools: raw rows to evidence and scored runs, by date.

Each module runs by itself (``python -m benchmarks.peers.polars_job LAKE OUT``) and says in
its docstring what it leaves out. They share no code with stillhouse.
"""
