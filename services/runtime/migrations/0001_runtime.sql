-- migrate:up
set lock_timeout = '5s';

-- How far each input partition is read; locked first in every transaction: the whole fence.
create table position (
    topic text not null, part int not null, next bigint not null,
    held text, held_since timestamptz,
    primary key (topic, part)
) with (fillfactor = 50);

-- An alliance and the last tick acted on. `acted` follows `ticked` once nothing is due any more.
create table alliance (
    tenant text primary key, ticked timestamptz, tick_id text, acted timestamptz
);

-- A state: one row, one lock. `body` is null for what is named but not known yet; `stream` holds the last own numbers.
create table state (
    kind text not null, id text not null, tenant text,
    shape int not null default 1, body text, given text not null default '', stream text not null default '{}',
    cause text, trace text, recorded_at timestamptz, due_at timestamptz,
    primary key (kind, id)
) with (fillfactor = 80);
create index state_due on state (due_at) where due_at is not null;

-- The last number heard of each learned family and subject; `early` counts the facts kept until the missing one comes.
create table heard (
    family text not null, subject text not null, number bigint not null, id text not null, early int not null default 0,
    primary key (family, subject)
) with (fillfactor = 80);
create table early (
    family text not null, subject text not null, number bigint not null, attributes text not null, type text not null,
    body bytea not null, since timestamptz not null default now(),
    primary key (family, subject, number)
);

-- Every id that was claimed: key is the reference with its first content, or the id of the answer ID_REUSED.
create table answered (key uuid primary key, content text not null);

-- What rests on something unknown; it has claimed its id and has no answer yet.
create table waiting (
    seq bigint generated always as identity, reference uuid primary key, content text not null, publisher text not null,
    topic text not null, tenant text not null, missing text[] not null, since timestamptz,
    arrived timestamptz not null, headers bytea not null, body bytea not null
);
create index waiting_missing on waiting using gin (missing);

-- What a rule of ours could not bear: it has claimed nothing, and is judged again when the service starts anew.
create table set_aside (
    reference uuid not null, content text not null, publisher text not null, topic text not null, part int not null,
    "offset" bigint not null, error text not null, at timestamptz not null default now(),
    arrived timestamptz not null, headers bytea not null, body bytea not null,
    primary key (reference, content)
);

-- What could never be read, counted; the letters themselves are on the dead-letter topic.
create table dead_letter_count (
    topic text not null, type text not null, rule text not null, letters bigint not null, last_at timestamptz not null,
    primary key (topic, type, rule)
);

-- One transaction's records for one topic, packed ready to send.
create table outbox (
    id bigint generated always as identity primary key, topic text not null, records bytea not null,
    letters int not null, follows bigint[] not null, at timestamptz not null default now()
);
alter table outbox alter column records set storage external; -- pglz would eat what packing gains

-- Acknowledged end per own partition: a database older than the log is seen by it.
create table acked (topic text not null, part int not null, next bigint not null, primary key (topic, part))
    with (fillfactor = 50);

-- Ticks read and not yet acted on, with the ends of all inputs as they stood then.
create table tick (id text primary key, at timestamptz not null, ends text not null, held text);

-- Side effects on the world: who holds a claim makes the attempt; without a result after the lease it is uncertain.
create table claim (
    id text primary key, attributes text not null, body bytea not null, lease_until timestamptz not null, done boolean not null
);

-- The service's own facts as they were recorded, superseded ones included.
create table timeline (
    family text not null, subject text not null, number bigint not null, fact_id text not null, type text not null,
    time timestamptz not null, recorded_at timestamptz not null, cause text, body text not null,
    primary key (family, subject, number)
);

create table rebuilt (at timestamptz primary key, records bigint not null, seconds double precision not null, note text not null);

-- migrate:down
drop table rebuilt, timeline, claim, tick, acked, outbox, dead_letter_count, set_aside, waiting, answered, early, heard,
    state, alliance, position;
