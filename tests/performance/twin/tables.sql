-- What referral's transaction reads and writes, as its migrations have it; in a schema of its own.
drop schema if exists twin cascade;
create schema twin;
set search_path = twin;
create table position (topic text not null, part int not null, next bigint not null, primary key (topic, part))
    with (fillfactor = 50);
create table alliance (tenant text primary key, ticked timestamptz, tick_id text, acted timestamptz);
create table state (
    kind text not null, id text not null, tenant text, shape int not null default 1, body text, known text not null default '{}',
    last text not null default '{}', due_at timestamptz, primary key (kind, id)
) with (fillfactor = 80);
alter table state set (toast_tuple_target = 2600);
alter table state alter column body set storage external;
create index state_due on state (due_at) where due_at is not null;
create table quarantine (subject text primary key);
create table answered (key uuid primary key, content uuid);
create table outbox (
    id bigint generated always as identity primary key, tx bigint not null, after boolean not null, topic text not null,
    records bytea not null, at timestamptz not null default now(), sent_at timestamptz
);
alter table outbox alter column records set storage external;
create index outbox_unsent on outbox (id) where sent_at is null;
create index outbox_tx on outbox (tx) where sent_at is null and not after;
create index outbox_sent on outbox (sent_at) where sent_at is not null;
create table acked (topic text not null, part int not null, next bigint not null, primary key (topic, part))
    with (fillfactor = 50);
create table timeline (
    family text not null, subject text not null, number bigint not null, fact_id text not null, type text not null,
    time timestamptz not null, recorded_at timestamptz not null, cause text, body text not null,
    primary key (family, subject, number)
);
create table referral_board (
    referral_id text not null, case_id text not null, tenant text not null, run_id text not null,
    provider_organisation_id text not null, owner_organisation_id text not null, block text not null, state text not null,
    reason text, requested_on date not null, planned_start_on date, primary key (case_id, referral_id)
) with (fillfactor = 80);
create table participation_list (
    participation_id text not null, referral_id text not null, case_id text not null, tenant text not null,
    run_id text not null, block text not null, started_on date, ended_on date, end_kind text, dropped_out boolean not null,
    primary key (case_id, participation_id)
) with (fillfactor = 80);
create table risk_list (
    about text not null, rule text not null, case_id text not null, tenant text not null, participation_id text,
    referral_id text not null, run_id text not null, holds_from_on date, raised int not null, open boolean not null,
    owner_organisation_id text not null, primary key (case_id, about, rule)
) with (fillfactor = 80);
