-- migrate:up
set lock_timeout = '5s';

-- One row a participation that has started: where, in what, from when until when (exclusive).
create table participation_period (
    participation_id text primary key, tenant text not null, municipality text not null, block text not null,
    started_on date not null, ended_on date
) with (fillfactor = 80);

-- Releases as published; never updated.
create table release (
    tenant text not null, month text not null, vintage int not null, as_of timestamptz not null, digest text not null,
    body text not null,
    primary key (tenant, month, vintage)
);

-- migrate:down
drop table release, participation_period;
