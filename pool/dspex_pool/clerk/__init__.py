"""THE CLERK: a process beside the supervisor that reads long evaluations, compares them and writes reports.

    call ──► desk ══ wire ══► serving ──► the handler of its method
              ▲                  │ what it needs: records, entries; a piece for the client
              └── store, client ◄┘

All of that is Python, so in the supervisor's own process, in a thread too, it takes turns with every
frame of every client. The clerk is started by the first call that needs it, serves a few at once, and
ends when nobody has needed it for a minute. It opens no store: what it reads it asks the supervisor for,
so it works with each of them, and can change nothing.

`desk` is the supervisor's side; `questions` are the words that both sides have in common. `serving` is
the process, with `far_store`, the store as it has it there; `__main__` starts it.
"""
