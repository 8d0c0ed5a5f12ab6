-- migrate:up
set lock_timeout = '5s';

-- When what was left out had come: a log that was set back gives its place to something else, which may be a true fact. Of what was
-- left out before this column nobody knows; it is known by its place alone.
alter table left_out add column arrived timestamptz, drop constraint left_out_pkey,
    add unique nulls not distinct (topic, part, "offset", arrived);

-- migrate:down
delete from left_out l using left_out o where (l.topic, l.part, l."offset") = (o.topic, o.part, o."offset") and l.ctid < o.ctid;
alter table left_out drop column arrived, add primary key (topic, part, "offset");
