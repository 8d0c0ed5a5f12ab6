-- migrate:up
set lock_timeout = '5s';

-- Where Kafka has lost what it had acknowledged. What is sent next takes the log past the mark again, so what was seen is kept until
-- somebody sends it again (`lotse republish`).
alter table acked add column held text, add column held_since timestamptz;

-- migrate:down
alter table acked drop column held, drop column held_since;
