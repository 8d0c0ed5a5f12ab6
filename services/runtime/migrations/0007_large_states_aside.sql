-- migrate:up
set lock_timeout = '5s';

-- A state's row stays in its page as long as three fit there; beyond, the body stands aside, still uncompressed. Where only one
-- fits, each new version goes to another page and into the index. 10,000 rows of 6 kB (a year of attendance), 500 a transaction
-- on one connection: 57 us of Postgres a row instead of 160, and of 3 kB as before. On the full way that is too little to be seen
-- beside the rest (in turns 8,285 and 9,028 submissions/s); after 128,000 updates the table has 593 MB instead of 728.
alter table state set (toast_tuple_target = 2600);

-- migrate:down
alter table state set (toast_tuple_target = 8160);
