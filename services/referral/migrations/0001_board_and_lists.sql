-- migrate:up
set lock_timeout = '5s';

-- One row a referral: where it stands and whose turn it is.
create table referral_board (
    referral_id text primary key, case_id text not null, tenant text not null, run_id text not null,
    provider_organisation_id text not null, owner_organisation_id text not null, block text not null, state text not null,
    reason text, requested_on date not null, planned_start_on date
) with (fillfactor = 80);
create index referral_board_case on referral_board (case_id);

-- One row a participation, as known now.
create table participation_list (
    participation_id text primary key, referral_id text not null, case_id text not null, tenant text not null,
    run_id text not null, block text not null, started_on date, ended_on date, end_kind text, dropped_out boolean not null
) with (fillfactor = 80);
create index participation_list_case on participation_list (case_id);

-- One row a participation (or, for S6, a referral) and rule.
create table risk_list (
    about text not null, rule text not null, case_id text not null, tenant text not null, participation_id text,
    referral_id text not null, run_id text not null, first_on date, raised int not null, open boolean not null,
    owner_organisation_id text not null,
    primary key (about, rule)
) with (fillfactor = 80);
create index risk_list_case on risk_list (case_id);

-- migrate:down
drop table risk_list, participation_list, referral_board;
