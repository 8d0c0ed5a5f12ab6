-- migrate:up
set lock_timeout = '5s';

-- A state's row stays whole in its page, uncompressed, up to 8 kB; beyond, the body alone stands aside. Postgres would press
-- each row of more than 2 kB anew at each write: a fifth of its work on the common way.
alter table state set (toast_tuple_target = 8160);
alter table state alter column body set storage external;

-- migrate:down
alter table state alter column body set storage extended;
alter table state reset (toast_tuple_target);
