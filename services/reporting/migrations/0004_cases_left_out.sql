-- migrate:up
set lock_timeout = '5s';

-- Cases whose facts were kept back when a month was released; null: none. Such a release is replaced once none is left out.
alter table release add column left_out int;

-- migrate:down
alter table release drop column left_out;
