"""Code that tries to get out of its sandbox.

Each piece tries one thing, and prints what it got. `{file}`, `{folder}`, `{port}` and `{pid}` are of
the host: a file with a secret, a folder to write to, a port that listens, the worker's process. What
has a `Deno` in it goes through the bridge from Python to JavaScript.
"""

from __future__ import annotations

from typing import Final

FILES: Final = {
    "open": "print(open('{file}').read())",
    "open, by descriptors": "import os\nprint(os.read(os.open('{file}', os.O_RDONLY), 99))",
    "pathlib": "import pathlib\nprint(pathlib.Path('{file}').read_text())",
    "io of C": "import _io\nprint(_io.open('{file}').read())",
    "loader": "from importlib.machinery import SourceFileLoader as L\nprint(L('x', '{file}').get_data('{file}'))",
    "fileinput": "import fileinput\nprint(list(fileinput.input('{file}')))",
    "linecache": "import linecache\nprint(linecache.getlines('{file}'))",
    "sqlite": "import sqlite3\nsqlite3.connect('{folder}/made').execute('create table t (x)')",
    "write": "open('{folder}/made', 'w').write('x')",
    "write above": "import os\nos.makedirs('{folder}', exist_ok=True)\nopen('{folder}/made', 'w').write('x')",
    "symlink": "import os\nos.symlink('{file}', '/tmp/link')\nprint(open('/tmp/link').read())",
    "dots": "print(open('/tmp/../../../../../..{file}').read())",
    "node's files": "import pyodide_js\npyodide_js.FS.mount(pyodide_js.FS.filesystems.NODEFS, {{'root': '/'}}, '/mnt')",
    "mounted": "import pyodide_js\npyodide_js.mountNodeFS('/mnt2', '/')\nprint(open('/mnt2{file}').read())",
    "proc environ": "print(open('/proc/self/environ').read())",
    "proc of the worker": "print(open('/proc/{pid}/environ').read())",
    "proc cmdline": "print(open('/proc/{pid}/cmdline').read())",
    "proc mem": "print(open('/proc/self/mem', 'rb').read(9))",
    "proc root": "print(open('/proc/1/root{file}').read())",
}

NETWORK: Final = {
    "socket": "import socket\nsocket.create_connection(('127.0.0.1', {port}), 2).send(b'x')",
    "urllib": "import urllib.request as u\nu.urlopen('http://127.0.0.1:{port}/', timeout=2)",
    "http": "import http.client as h\nc = h.HTTPConnection('127.0.0.1', {port})\nc.request('GET', '/')",
    "asyncio": "import asyncio\nawait asyncio.open_connection('127.0.0.1', {port})",
    "pyfetch": "from pyodide.http import pyfetch\nawait pyfetch('http://127.0.0.1:{port}/')",
    "open_url": "from pyodide.http import open_url\nprint(open_url('http://127.0.0.1:{port}/').read())",
    "fetch": "import js\nawait js.fetch('http://127.0.0.1:{port}/')",
    "web socket": "import js, asyncio\njs.WebSocket.new('ws://127.0.0.1:{port}/')\nawait asyncio.sleep(0.3)",
    "event source": "import js, asyncio\njs.EventSource.new('http://127.0.0.1:{port}/')\nawait asyncio.sleep(0.3)",
    "Deno.connect": "import js\nawait js.Deno.connect(js.JSON.parse('{{\"port\": {port}}}'))",
    "Deno.listen": "import js\njs.Deno.listen(js.JSON.parse('{{\"port\": 0}}'))",
    "Deno.resolveDns": "import js\nprint(await js.Deno.resolveDns('example.com', 'A'))",
    "micropip": "import micropip\nawait micropip.install('attrs')",
    "loadPackage": "import pyodide_js\nawait pyodide_js.loadPackage('http://127.0.0.1:{port}/x.whl')\nimport x",
    "import from a url": "import js\nawait js.eval('import(\"http://127.0.0.1:{port}/x.js\")')",
}

PROCESSES: Final = {
    "system": "import os\nprint(os.system('echo {file} > {folder}/made'))",
    "popen": "import os\nprint(os.popen('cat {file}').read())",
    "subprocess": "import subprocess\nprint(subprocess.check_output(['cat', '{file}']))",
    "fork": "import os\nwhile True:\n    os.fork()",
    "exec": "import os\nos.execv('/bin/sh', ['sh', '-c', 'touch {folder}/made'])",
    "spawn": "import os\nos.posix_spawn('/bin/sh', ['sh', '-c', 'touch {folder}/made'], {{}})",
    "multiprocessing": "import multiprocessing as m\np = m.Process(target=print)\np.start()",
    "kill the worker": "import os\nos.kill({pid}, 9)",
    "threads": "import threading\nt = [threading.Thread(target=print) for _ in range(9)]\n[x.start() for x in t]",
    "ctypes": "import ctypes\nprint(ctypes.CDLL(None).system(b'touch {folder}/made'))",
    "Deno.Command": "import js\nprint(js.Deno.Command.new('/bin/cat', js.JSON.parse('{{\"args\": [\"{file}\"]}}')).outputSync())",
    "Deno.kill": "import js\njs.Deno.kill({pid}, 'SIGKILL')",
    "Deno.dlopen": "import js\njs.Deno.dlopen('libc.so.6', js.JSON.parse('{{}}'))",
}

JAVASCRIPT: Final = {
    "Deno.readTextFile": "import js\nprint(js.Deno.readTextFileSync('{file}'))",
    "Deno.readDir": "import js\nprint(list(js.Deno.readDirSync('/')))",
    "Deno.writeTextFile": "import js\njs.Deno.writeTextFileSync('{folder}/made', 'x')",
    "Deno.env": "import js\nprint(js.Deno.env.toObject().to_py())",
    "Deno.env.get": "import js\nprint(js.Deno.env.get('DSPEX_TEST_SECRET'))",
    "Deno.permissions": "import js\nprint((await js.Deno.permissions.request(js.JSON.parse('{{\"name\": \"read\"}}'))).state)\nprint(js.Deno.readTextFileSync('{file}'))",
    "node:fs": "import js\nprint((await js.eval('import(\"node:fs\")')).readFileSync('{file}', 'utf8'))",
    "node:child_process": "import js\nprint((await js.eval('import(\"node:child_process\")')).execSync('cat {file}'))",
    "node:process": "import js\nprint(js.process.env.DSPEX_TEST_SECRET)",
    "Function": "import js\nprint(js.eval('new Function(\"return Deno.readTextFileSync(`{file}`)\")()'))",
    "a worker with more rights": 'import js, asyncio\njs.eval(\'new Worker(`data:text/javascript,Deno.writeTextFileSync("{folder}/made",1)`, {{type: "module", deno: {{permissions: "inherit"}}}})\')\nawait asyncio.sleep(0.5)',
    "the prepared folder": "import js\nprint(list(js.Deno.readDirSync('/prepared')))",
    "Deno.exit": "import js\njs.Deno.exit(0)",
    "the tool bridge": "print(await _js_tool_call('os.system', '{{\"kwargs\": {{}}}}'))",
    "a forged answer": 'import js\njs.console.log(\'{{"jsonrpc":"2.0","id":"x","result":{{}}}}\')',
    "a forged call": 'import js\njs.console.log(\'{{"jsonrpc":"2.0","id":1,"method":"sync_file","params":{{}}}}\')',
}

ENVIRONMENT: Final = {
    "environ": "import os\nprint(dict(os.environ))",
    "getenv": "import os\nprint(os.getenv('DSPEX_TEST_SECRET'))",
    "modules of the worker": "import dspex_bridge\nprint(dspex_bridge)",
    "import tricks": "print(__import__('importlib').import_module('dspy'))",
    "subclasses": "print([c for c in object.__subclasses__() if 'Popen' in c.__name__][0](['cat', '{file}']))",
    "frames": "import sys\nf = sys._getframe()\nwhile f.f_back: f = f.f_back\nprint(f.f_globals.get('os'))",
    "collector": "import gc\nprint([o for o in gc.get_objects() if 'sk-escape' in str(o)[:99]][:0] or 'none')",
}

EXHAUSTING: Final = {
    "memory of Python": "x = []\nwhile True:\n    x.append(bytearray(10**7))",
    "memory of JavaScript": "import js\njs.eval('const a = []; while (true) a.push(new Uint8Array(1e7).fill(1))')",
    "endless output": "import js\njs.eval('while (true) Deno.stdout.writeSync(new Uint8Array(65536).fill(65))')",
    "endless lines": "import js\njs.eval('while (true) console.log(\"x\")')",
    "endless printing": "while True:\n    print('x' * 10**6)",
    "endless loop": "while True:\n    pass",
    "endless loop that will not end": "while True:\n    try:\n        while True: pass\n    except BaseException: pass",
    "endless recursion": "def f(): f()\nf()",
    "a signal that is caught": "import js\njs.Deno.addSignalListener('SIGTERM', js.eval('() => 1'))\nwhile True: pass",
    "a big power": "x = 9 ** 9 ** 9 ** 9",
}
"""These end by a limit, or by the end of their call."""

QUIET: Final = {**FILES, **NETWORK, **PROCESSES, **JAVASCRIPT, **ENVIRONMENT}
"""These end by themselves, and get nothing."""
