"""Stored programs between the methods of the wire and the raw store.

General layout: `names` and `sealing` stand alone; `records` is what is stored, in the forms of
`upgrades`; `shelf` is what is remembered; `steps` decides and `writer` writes, `reader` reads, `pages`
and `histories` list, `differences` compares, `documents` goes out and comes in, `checks` finds what is
broken; `library` is all of it for the supervisor, and `answers` puts it into the words of the wire.
"""

from .documents import Document as Document
from .documents import read_document as read_document
from .failures import to_wire_error as to_wire_error
from .failures import told as told
from .library import Library as Library
from .names import Reference as Reference
from .names import check_program as check_program
from .names import check_tag as check_tag
from .names import check_write_id as check_write_id
from .names import reference_of as reference_of
from .pages import Page as Page
from .pages import Wanted as Wanted
from .records import Head as Head
from .records import Lineage as Lineage
from .records import Version as Version
from .shelf import Held as Held
from .writes import Write as Write
