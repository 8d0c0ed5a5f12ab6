-- migrate:up
set lock_timeout = '5s';

-- One row a case, as people read it.
create table case_list (
    case_id text primary key, tenant text not null, municipality text not null, programme text not null,
    owner_organisation_id text not null, closed_on date, closed_because text, needs int not null, consents int not null,
    consents_withdrawn int not null
) with (fillfactor = 80);

-- migrate:down
drop table case_list;
