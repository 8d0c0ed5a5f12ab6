-- migrate:up
set lock_timeout = '5s';

-- Each process looks each second for attempts whose time is over; those that are made stay, and are more every day.
create index claim_open on claim (lease_until) where not done;

-- migrate:down
drop index claim_open;
