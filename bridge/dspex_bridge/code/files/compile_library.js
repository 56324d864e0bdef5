// Prints Pyodide's standard library with the bytecode of each module beside its source.
// Its last argument is what DSPy's runner.js imports Pyodide by.

const { default: pyodide } = await import(Deno.args.at(-1));
const python = await pyodide.loadPyodide();
python.runPython(`
import importlib.util, sys, zipfile
from importlib._bootstrap_external import _code_to_hash_pyc

library = next(path for path in sys.path if path.endswith(".zip"))
with zipfile.ZipFile(library) as read, zipfile.ZipFile("/tmp/library.zip", "w", zipfile.ZIP_DEFLATED) as written:
    for name in read.namelist():
        source = read.read(name)
        written.writestr(name, source)
        if name.endswith(".py"):
            code = compile(source, f"{library}/{name}", "exec", dont_inherit=True)
            # Nobody looks whether the source is still the same: both are in the one file.
            pyc = _code_to_hash_pyc(code, importlib.util.source_hash(source), False)
            written.writestr(name + "c", pyc)
`);
const data = python.FS.readFile("/tmp/library.zip");
for (let at = 0; at < data.length; ) at += await Deno.stdout.write(data.subarray(at));
