-- migrate:up
set lock_timeout = '5s';

-- States of shape 1 do not know who told the needs of a case: they are set to what a rebuild makes of them, letter by letter, since
-- what has a shape is compared. All cases get it: a version before it, still running, stands at them, or it would go on without
-- counting.
update state s set shape = 2, body = left(body, -1) || ',"needs_told_by":{' || coalesce((
    select string_agg(format('"%s":%s', who, told), ',' order by who collate "C")
    from (select body::jsonb #>> '{by,organisation_id}' as who, count(*) as told from timeline
        where family = 'intake' and subject = s.id and type = 'lotse.intake.need_recorded.v1' group by 1) needs), '') || '}}'
where kind = 'case' and shape < 2 and body is not null;

-- migrate:down
select;
