-- migrate:up
set lock_timeout = '5s';

-- The newest day said of a risk: what is older than a fortnight is in no mail any more. And what an office was told and what no longer
-- holds: it stands on its list until a mail has said so, and no risk holds there, so no tick raised it and no day is its newest.
alter table notice_list add column evidence_on date, add column taken_back boolean not null default false,
    alter column as_of drop not null;

-- migrate:down
delete from notice_list where taken_back;
alter table notice_list drop column taken_back, drop column evidence_on, alter column as_of set not null;
