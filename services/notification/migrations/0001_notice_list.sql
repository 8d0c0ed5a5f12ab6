-- migrate:up
set lock_timeout = '5s';

-- One row an open risk at an office: what it should know, and whether it was told.
create table notice_list (
    office_id text not null, case_id text not null, about text not null, rule text not null, first_on date not null,
    tenant text not null, told boolean not null, as_of timestamptz not null,
    primary key (office_id, case_id, about, rule, first_on)
) with (fillfactor = 80);

-- migrate:down
drop table notice_list;
