"""What a worker runs: DSPy behind the operations of the protocol.

General layout: `wire` and `zygote` are the process; `serve`, `calls` and `operations` are
one call after another; `grammar`, `signatures`, `modules`, `programs`, `values` are DSPy
programs from descriptions; `lms`, `usage`, `streaming`, `sim` are language models.
"""
