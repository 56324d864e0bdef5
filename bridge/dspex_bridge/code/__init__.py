"""Code that a language model writes, run in a sandbox.

DSPy's interpreter is Python in WebAssembly (Pyodide) within Deno, which is given no permission.
`sandbox` finds what this machine has for it and puts bubblewrap and limits around it; `preparing`
fetches what it needs, once, and `library` compiles it; `sandboxed` is DSPy's interpreter on such a
process, and `interpreters` keeps processes ready and lends them to calls; `code_act` is DSPy's module
for tools of the host, and `flex` the one whose source is what it has learned.
"""
