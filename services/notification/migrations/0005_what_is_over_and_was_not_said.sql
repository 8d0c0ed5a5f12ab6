-- migrate:up
set lock_timeout = '5s';

-- What an office was told and what no longer holds stands on its list until a mail has said so: without a mailbox it was on none.
-- No risk holds there, so no tick raised it and no day is its newest. Each office is asked at the next tick and writes its rows anew.
alter table notice_list add column taken_back boolean not null default false, alter column as_of drop not null;
update state set due_at = '0001-01-01 00:00:00+00' where kind = 'office' and body is not null;

-- migrate:down
delete from notice_list where taken_back;
alter table notice_list drop column taken_back, alter column as_of set not null;
