-- migrate:up
set lock_timeout = '5s';

-- What is over and waits to be said waits with its newest reason: an office that was told another one stands among what is taken back,
-- too. A version before this one, still running, would take that for a belief that the risk holds, and not say that it holds again: the
-- shape makes it stand. Who is asked at the next tick may be told a reason that had been forgotten.
update state set shape = 8, due_at = '0001-01-01 00:00:00+00' where kind = 'office' and shape = 7 and body is not null;

-- migrate:down
select;
