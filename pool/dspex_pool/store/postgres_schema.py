"""What a store makes in PostgreSQL: the schema `dspex`, its tables, and one function for each write.

Ids and names are `bytea`: it compares as bytes whatever locale and encoding a database has.
Times are microseconds since 1970 by the server's clock. docs/store.md describes the tables.

A commit is one call of a function, so it is one statement, one transaction and one way there and
back. It runs at READ COMMITTED and locks what it touches: first all that exists, then it makes
what does not, both in the order of the keys. So two commits never wait for each other in a ring,
and none has to be done again where several meet at one key, as they would at SERIALIZABLE. Two
that create the same key are the exception: one finds it made by the other, and begins again.

What a commit expects is looked at while the rows are locked, and before anything is written; one
that is refused has written nothing, and costs no error in the server's log.
"""

# ruff: noqa: S608 -- what is put into these texts is in this file
from __future__ import annotations

from typing import Final

SCHEMA: Final = 1

LOCK: Final = 0x64737065785F0001
"""Of PostgreSQL's advisory locks, for those who make the tables at the same time."""

# Whoever may not make schemas can be given one that is there.
MAKE_SCHEMA: Final = "CREATE SCHEMA IF NOT EXISTS dspex;"

TABLES: Final = """
CREATE TABLE IF NOT EXISTS dspex.store (
  is_one boolean PRIMARY KEY DEFAULT true CHECK (is_one),
  id text NOT NULL,
  schema integer NOT NULL
);
CREATE TABLE IF NOT EXISTS dspex.records (
  collection bytea NOT NULL,
  id bytea NOT NULL,
  revision bigint NOT NULL,
  body bytea NOT NULL,
  over_us bigint,
  PRIMARY KEY (collection, id)
);
CREATE INDEX IF NOT EXISTS records_over ON dspex.records (over_us) WHERE over_us IS NOT NULL;
-- Compressing would take more time than writing.
ALTER TABLE dspex.records ALTER COLUMN body SET STORAGE EXTERNAL;

CREATE TABLE IF NOT EXISTS dspex.journals (
  number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  name bytea UNIQUE, -- none for one that was dropped, until its entries are removed
  last bigint NOT NULL
);
CREATE INDEX IF NOT EXISTS journals_dropped ON dspex.journals (number) WHERE name IS NULL;
CREATE TABLE IF NOT EXISTS dspex.entries (
  journal bigint NOT NULL,
  number bigint NOT NULL,
  body bytea NOT NULL,
  PRIMARY KEY (journal, number)
);
ALTER TABLE dspex.entries ALTER COLUMN body SET STORAGE EXTERNAL;

CREATE TABLE IF NOT EXISTS dspex.leases (
  name bytea PRIMARY KEY,
  owner bytea NOT NULL,
  epoch bigint NOT NULL,
  over_us bigint NOT NULL
);
CREATE INDEX IF NOT EXISTS leases_over ON dspex.leases (over_us);
CREATE SEQUENCE IF NOT EXISTS dspex.epochs;

-- One row for each connection: how many changes were acknowledged on it.
CREATE TABLE IF NOT EXISTS dspex.writers (
  id text PRIMARY KEY,
  commits bigint NOT NULL,
  seen_us bigint NOT NULL
);
"""

_NOW: Final = "(extract(epoch FROM clock_timestamp()) * 1000000)::bigint"

FUNCTIONS: Final = f"""
-- Returns kind, time, commits of this connection, then what belongs to the kind: 0 done: a number for
-- each change; 1 conflict: which change, what was found; 2 fenced: which fence; 3 late.
-- Records and journals come in the order of their keys; places are where they were in the commit.
CREATE OR REPLACE FUNCTION dspex.commit_1(
  deadline_us bigint, writer text, fence_names bytea[], fence_epochs bigint[],
  record_places integer[], collections bytea[], ids bytea[], bodies bytea[],
  expected bigint[], lasting bigint[],
  journal_names bytea[],
  entry_places integer[], entry_journals integer[], entry_bodies bytea[], entry_afters bigint[]
) RETURNS bigint[] LANGUAGE plpgsql AS $$
DECLARE
  moment bigint := {_NOW};
  place integer;
  conflict_place integer := 2147483647;
  conflict_found bigint;
  was bigint;
  ended bigint;
  counted bigint;
  journal integer;
  there boolean[] := '{{}}';
  journal_numbers bigint[] := '{{}}';
  journal_lasts bigint[] := '{{}}';
  lasts bigint[];
  numbers bigint[] := array_fill(0::bigint, ARRAY[cardinality(record_places) + cardinality(entry_places)]);
BEGIN
  IF cardinality(fence_names) > 0 THEN
    PERFORM FROM dspex.leases WHERE name = ANY (fence_names) ORDER BY name FOR SHARE;
    SELECT min(fence.place) INTO place
      FROM unnest(fence_names, fence_epochs) WITH ORDINALITY AS fence (name, epoch, place)
      LEFT JOIN dspex.leases ON leases.name = fence.name
      WHERE leases.epoch IS DISTINCT FROM fence.epoch;
    IF place IS NOT NULL THEN
      RETURN ARRAY[2, moment, 0, place];
    END IF;
  END IF;

  FOR i IN 1 .. cardinality(record_places) LOOP
    SELECT revision, over_us INTO was, ended FROM dspex.records
      WHERE collection = collections[i] AND id = ids[i] FOR UPDATE;
    there[i] := FOUND;
    IF was IS NULL OR ended <= moment THEN
      was := 0;
    END IF;
    place := record_places[i];
    IF expected[i] <> was AND place < conflict_place THEN
      conflict_place := place;
      conflict_found := was;
    END IF;
    IF bodies[i] IS NOT NULL THEN
      numbers[place] := was + 1;
    END IF;
  END LOOP;

  FOR i IN 1 .. cardinality(journal_names) LOOP
    SELECT number, last INTO was, ended FROM dspex.journals WHERE name = journal_names[i] FOR UPDATE;
    journal_numbers[i] := was;
    journal_lasts[i] := coalesce(ended, 0);
  END LOOP;
  lasts := journal_lasts;
  FOR i IN 1 .. cardinality(entry_places) LOOP
    journal := entry_journals[i];
    place := entry_places[i];
    IF entry_afters[i] <> lasts[journal] AND place < conflict_place THEN
      conflict_place := place;
      conflict_found := lasts[journal];
    END IF;
    lasts[journal] := CASE WHEN entry_bodies[i] IS NULL THEN 0 ELSE lasts[journal] + 1 END;
    numbers[place] := lasts[journal];
  END LOOP;

  IF conflict_found IS NOT NULL THEN
    RETURN ARRAY[1, moment, 0, conflict_place, conflict_found];
  END IF;
  -- Whoever sent it may have given up while it waited for locks.
  IF {_NOW} > deadline_us THEN
    RETURN ARRAY[3, {_NOW}, 0];
  END IF;

  FOR i IN 1 .. cardinality(record_places) LOOP
    IF bodies[i] IS NULL THEN
      IF there[i] THEN
        DELETE FROM dspex.records WHERE collection = collections[i] AND id = ids[i];
      END IF;
    ELSIF there[i] THEN
      UPDATE dspex.records
        SET revision = numbers[record_places[i]], body = bodies[i], over_us = moment + lasting[i]
        WHERE collection = collections[i] AND id = ids[i];
    ELSE
      INSERT INTO dspex.records (collection, id, revision, body, over_us)
        VALUES (collections[i], ids[i], numbers[record_places[i]], bodies[i], moment + lasting[i])
        ON CONFLICT DO NOTHING;
      IF NOT FOUND THEN
        RAISE serialization_failure USING MESSAGE = 'dspex: made by another commit meanwhile';
      END IF;
    END IF;
  END LOOP;

  FOR i IN 1 .. cardinality(entry_places) LOOP
    journal := entry_journals[i];
    IF entry_bodies[i] IS NULL THEN
      UPDATE dspex.journals SET name = NULL WHERE number = journal_numbers[journal];
      journal_numbers[journal] := NULL;
    ELSE
      IF journal_numbers[journal] IS NULL THEN
        INSERT INTO dspex.journals (name, last) VALUES (journal_names[journal], 0)
          ON CONFLICT DO NOTHING RETURNING number INTO was;
        IF NOT FOUND THEN
          RAISE serialization_failure USING MESSAGE = 'dspex: made by another commit meanwhile';
        END IF;
        journal_numbers[journal] := was;
      END IF;
      INSERT INTO dspex.entries (journal, number, body)
        VALUES (journal_numbers[journal], numbers[entry_places[i]], entry_bodies[i]);
    END IF;
  END LOOP;
  FOR i IN 1 .. cardinality(journal_names) LOOP
    IF journal_numbers[i] IS NOT NULL THEN
      UPDATE dspex.journals SET last = lasts[i] WHERE number = journal_numbers[i];
    END IF;
  END LOOP;

  UPDATE dspex.writers SET commits = commits + 1, seen_us = moment WHERE id = writer
    RETURNING commits INTO counted;
  IF counted IS NULL THEN
    -- Taken back as a whole: a store that was emptied must not be written to.
    RAISE no_data_found USING MESSAGE = 'dspex: this connection is not known';
  END IF;
  RETURN ARRAY[0, moment, counted] || numbers;
END
$$;

-- Returns epoch and commits, or 0, whose it is and for how long.
CREATE OR REPLACE FUNCTION dspex.lease_1(
  writer text, wanted bytea, wisher bytea, lasting bigint,
  OUT epoch bigint, OUT counted bigint, OUT holder bytea, OUT remaining_us bigint
) LANGUAGE plpgsql AS $$
DECLARE
  moment bigint;
  held dspex.leases;
BEGIN
  SELECT * INTO held FROM dspex.leases WHERE name = wanted FOR UPDATE;
  moment := {_NOW}; -- after any wait
  IF held.over_us > moment AND held.owner <> wisher THEN
    epoch := 0;
    holder := held.owner;
    remaining_us := held.over_us - moment;
    RETURN;
  END IF;
  epoch := CASE WHEN held.over_us > moment THEN held.epoch ELSE nextval('dspex.epochs') END;
  IF held.name IS NULL THEN
    INSERT INTO dspex.leases VALUES (wanted, wisher, epoch, moment + lasting) ON CONFLICT DO NOTHING;
    IF NOT FOUND THEN
      RAISE serialization_failure USING MESSAGE = 'dspex: taken by another meanwhile';
    END IF;
  ELSE
    UPDATE dspex.leases SET owner = wisher, epoch = lease_1.epoch, over_us = moment + lasting
      WHERE name = wanted;
  END IF;
  UPDATE dspex.writers SET commits = commits + 1, seen_us = moment WHERE id = writer
    RETURNING commits INTO counted;
  IF counted IS NULL THEN
    RAISE no_data_found USING MESSAGE = 'dspex: this connection is not known';
  END IF;
END
$$;

CREATE OR REPLACE FUNCTION dspex.expire_1(
  most integer, memory_us bigint, writer_memory_us bigint, mine text[]
) RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
  moment bigint := {_NOW};
  removed integer;
  forgotten integer;
BEGIN
  DELETE FROM dspex.records WHERE (collection, id) IN (
    SELECT collection, id FROM dspex.records WHERE over_us <= moment
    ORDER BY over_us LIMIT most FOR UPDATE SKIP LOCKED);
  GET DIAGNOSTICS removed = ROW_COUNT;
  DELETE FROM dspex.leases WHERE name IN (
    SELECT name FROM dspex.leases WHERE over_us <= moment - memory_us
    ORDER BY over_us LIMIT most - removed FOR UPDATE SKIP LOCKED);
  GET DIAGNOSTICS forgotten = ROW_COUNT;
  DELETE FROM dspex.entries WHERE (journal, number) IN (
    SELECT entries.journal, entries.number FROM dspex.entries
    JOIN dspex.journals ON journals.number = entries.journal WHERE journals.name IS NULL LIMIT most);
  DELETE FROM dspex.journals WHERE name IS NULL
    AND NOT EXISTS (SELECT FROM dspex.entries WHERE entries.journal = journals.number);
  UPDATE dspex.writers SET seen_us = moment WHERE id = ANY (mine);
  DELETE FROM dspex.writers WHERE seen_us < moment - writer_memory_us;
  RETURN removed + forgotten;
END
$$;
"""

NOW: Final = f"SELECT {_NOW}"

GET: Final = f"""
SELECT wanted.place - 1, revision, body
FROM unnest($1::bytea[], $2::bytea[]) WITH ORDINALITY AS wanted (collection, id, place)
JOIN dspex.records USING (collection, id)
WHERE over_us IS NULL OR over_us > {_NOW}
"""

SCAN: Final = f"""
SELECT id, revision, body FROM dspex.records
WHERE collection = $1 AND id >= $2 AND ($3::bytea IS NULL OR id < $3)
AND (over_us IS NULL OR over_us > {_NOW})
ORDER BY id %s LIMIT $4
"""
SCAN_FORWARDS: Final = SCAN % "ASC"
SCAN_BACKWARDS: Final = SCAN % "DESC"

ENTRIES: Final = """
SELECT entries.number, body FROM dspex.journals JOIN dspex.entries ON entries.journal = journals.number
WHERE name = $1 AND entries.number > $2 ORDER BY entries.number LIMIT $3
"""

COMMIT: Final = (
    "SELECT dspex.commit_1($1, $2, $3::bytea[], $4::bigint[], $5::integer[], $6::bytea[], $7::bytea[],"
    " $8::bytea[], $9::bigint[], $10::bigint[], $11::bytea[], $12::integer[], $13::integer[], $14::bytea[],"
    " $15::bigint[])"
)
LEASE: Final = "SELECT * FROM dspex.lease_1($1, $2, $3, $4)"
RELEASE: Final = (
    f"UPDATE dspex.leases SET over_us = {_NOW} WHERE name = $1 AND epoch = $2 AND over_us > {_NOW}"
)
EXPIRE: Final = "SELECT dspex.expire_1($1, $2, $3, $4::text[])"

# For a new connection.
GREET: Final = """
SELECT set_config('statement_timeout', $1, false), set_config('search_path', 'pg_catalog', false),
  set_config('jit', 'off', false), -- it would compile for longer than any query of ours runs
  -- A plan that was made while a table was small would be kept for a while after it has grown.
  set_config('enable_seqscan', 'off', false),
  to_regnamespace('dspex') IS NOT NULL, to_regclass('dspex.store') IS NOT NULL,
  pg_is_in_recovery() OR current_setting('transaction_read_only') = 'on'
"""
# Then, in one go: which store it is, what time, how far the connections that we know have got.
MEET: Final = f"""
SELECT store.id, schema, {_NOW}, writers.id, commits
FROM dspex.store LEFT JOIN dspex.writers ON writers.id = ANY ($1::text[])
"""
ENTER: Final = f"WITH entered AS (INSERT INTO dspex.writers VALUES ($2, 0, {_NOW})) {MEET}"
ESTABLISH: Final = "INSERT INTO dspex.store (id, schema) VALUES ('{id}', {schema}) ON CONFLICT DO NOTHING;"
