-- migrate:up
set lock_timeout = '5s';

-- The first day on which somebody no longer takes part, named as in the facts.
alter table participation_period rename column ended_on to ended_before_on;

-- migrate:down
alter table participation_period rename column ended_before_on to ended_on;
