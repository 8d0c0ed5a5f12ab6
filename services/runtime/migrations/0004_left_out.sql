-- migrate:up
set lock_timeout = '5s';

-- Records an operator said are none: a fork's wrong half at a release, bytes without a fact's headers. A rebuild passes them
-- over, too, else it would stop where somebody has decided already.
create table left_out (topic text not null, part int not null, "offset" bigint not null, primary key (topic, part, "offset"));

-- Who has begun to make an attempt: what only waited for its turn when its process died was certainly not made, and may be.
alter table claim add column begun_by uuid;
update claim set begun_by = gen_random_uuid(); -- of these nobody knows

-- A held tick is shown for a week; for ever, nobody would look at what status says is held.
alter table tick add column kept_at timestamptz not null default now();

-- migrate:down
alter table tick drop column kept_at;
alter table claim drop column begun_by;
drop table left_out;
