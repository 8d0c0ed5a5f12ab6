-- migrate:up
set lock_timeout = '5s';

-- What each office last heard to be over, as a rebuild learns it: states of shape 4 do not say it, and a correction that is corrected
-- after this version has come would be told to nobody. Their shape stays: whatever writes them next is the new version.
with word as (
    select r.subject, r.number, a.body::jsonb ->> 'as_of' as as_of,
        concat_ws('|', line ->> 'case_id', line ->> 'about', line ->> 'rule') as what, bool_or(line ->> 'kind' = 'RAISED') as raised
    from timeline r
    join timeline a on a.family = r.family and a.subject = r.subject and a.type = 'lotse.notification.notification_attempted.v1'
        and a.body::jsonb ->> 'attempt_id' = r.body::jsonb ->> 'attempt_id'
    cross join jsonb_array_elements(a.body::jsonb -> 'lines') line
    where r.family = 'notification'
        and r.type in ('lotse.notification.notification_sent.v1', 'lotse.notification.notification_uncertain.v1')
    group by 1, 2, 3, 4
), heard as (
    select distinct on (subject, what) subject, what, as_of, raised, max(as_of::timestamptz) over (partition by subject) as newest
    from word order by subject, what, number desc
), over as (
    select subject, jsonb_object_agg(what, as_of) as said from heard
    where not raised and as_of::timestamptz >= newest - interval '8 weeks' group by subject
)
update state s set body = jsonb_set(s.body::jsonb, '{notification,said_over}', over.said)::text
from over where s.kind = 'office' and s.id = over.subject and s.shape < 5;

-- migrate:down
select;
