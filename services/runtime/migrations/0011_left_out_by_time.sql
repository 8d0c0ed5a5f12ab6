-- migrate:up
set lock_timeout = '5s';

-- When what was left out had come: a log that was set back gives its place to something else, which may be a true fact. Of what was
-- left out before this column nobody knows; it is known by its place alone.
alter table left_out add column arrived timestamptz;

-- migrate:down
alter table left_out drop column arrived;
