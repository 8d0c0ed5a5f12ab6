-- migrate:up
set lock_timeout = '5s';

-- Dead letters that are known when submissions are read again from their start, after a rebuild with nothing to compare with and
-- at `lotse go-on`: buried twice they would count twice, and might trip their publisher's limit. A row goes when its message comes.
create table buried (
    topic text not null, part int not null, "offset" bigint not null, arrived timestamptz not null,
    primary key (topic, part, "offset", arrived)
);

-- migrate:down
drop table buried;
