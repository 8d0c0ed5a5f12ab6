-- migrate:up
set lock_timeout = '5s';

-- How many rows a table has that is kept for good: counted up to a million, then as Postgres reckons it. Each question of a
-- monitor counted all of them, and would take longer from year to year until it took too long.
create function counted(kept regclass) returns bigint language plpgsql stable as $$
declare
    found bigint := (select reltuples from pg_class where oid = kept);
begin
    if found < 1000000 then
        execute format('select count(*) from %s', kept) into found;
    end if;
    return found;
end
$$;

-- migrate:down
drop function counted(regclass);
