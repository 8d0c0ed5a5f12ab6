-- migrate:up
set lock_timeout = '5s';

-- What a release left out, by the number under which it was kept: a release that is cut short is asked for again in the same words.
alter table left_out add column seq bigint;

-- Each batch with something unreadable asks for the letters of the present hour.
create index dead_letter_hour on dead_letter (hour);

-- migrate:down
drop index dead_letter_hour;
alter table left_out drop column seq;
