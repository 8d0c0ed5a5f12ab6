-- migrate:up
set lock_timeout = '5s';

-- States, answers and what was kept are learnt again from the topics: until `lotse rebuild` has run, the service says that
-- its database is older than the log and does not serve. Only what was not yet sent stands nowhere else.
do $$ begin
    if exists (select from outbox) then
        raise exception 'the outbox is not empty: let the version before this one send it, then migrate';
    end if;
end $$;
truncate position, acked, alliance, tick, heard, timeline, claim;

-- Messages that could not be settled yet, as they came: one table for all four reasons. `rests_on` says what takes them up
-- again: an id that becomes known (waiting), a stream's missing fact (early), a subject's release (quarantined); what a rule
-- of ours could not bear (aside) waits for a replay.
create table kept (
    seq bigint generated always as identity primary key, why text not null, publisher text not null, tenant text not null,
    subject text not null, rests_on text not null, topic text not null, part int not null, "offset" bigint not null,
    error text not null default '', since timestamptz, at timestamptz not null default now(), arrived timestamptz not null,
    headers bytea not null, value bytea, claimed boolean not null,
    unique (topic, part, "offset", arrived) -- a log that was set back gives an offset twice
);
create index kept_rests_on on kept using gin (string_to_array(rests_on, ' '));

-- Subjects of which a fact could not be applied: all that concerns them is kept until somebody releases them.
create table quarantine (subject text primary key, why text not null, since timestamptz not null default now());

-- What could never be read, counted by the hour; the letters themselves are on the dead-letter topic.
create table dead_letter (
    topic text not null, publisher text not null, type text not null, rule text not null, letters bigint not null,
    hour timestamptz not null,
    primary key (topic, type, rule, hour)
);

drop table waiting, set_aside, early, dead_letter_count;

-- A state's row: what it made known and its own numbers in `known` (compared by a rebuild), the fact folded last in `last`.
drop table state;
create table state (
    kind text not null, id text not null, tenant text, shape int not null default 1, body text, known text not null default '{}',
    last text not null default '{}', due_at timestamptz,
    primary key (kind, id)
) with (fillfactor = 80);
create index state_due on state (due_at) where due_at is not null;
alter table heard alter column early drop default, alter column early type boolean using early > 0;

-- Content as the 16 bytes it is; null: the id is known by its fact alone.
drop table answered;
create table answered (key uuid primary key, content uuid);

-- What operators did: who, what, to what, why.
create table audit (
    seq bigint generated always as identity primary key, at timestamptz not null default now(), who text not null,
    what text not null, about text not null, why text not null
);

-- One transaction's records for one topic; answers go after the facts of the same transaction. Sent rows are kept 7 days.
drop table outbox;
create table outbox (
    id bigint generated always as identity primary key, tx bigint not null, after boolean not null, topic text not null,
    records bytea not null, at timestamptz not null default now(), sent_at timestamptz
);
alter table outbox alter column records set storage external; -- pglz would eat what packing gains
create index outbox_unsent on outbox (id) where sent_at is null;
create index outbox_tx on outbox (tx) where sent_at is null and not after;
create index outbox_sent on outbox (sent_at) where sent_at is not null;

-- migrate:down
drop table audit, outbox, answered, state, dead_letter, quarantine, kept;
