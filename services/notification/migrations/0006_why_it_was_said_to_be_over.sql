-- migrate:up
set lock_timeout = '5s';

-- An office that was told why something is over hears another reason, too: states of shape 6 do not say what it was told. They are set to
-- what a rebuild makes of them, letter by letter: of each risk the last word of the mails that an office has, or may have, one member more
-- before the last two. Who was told anything is asked at the next tick: referral may have said another reason already. The shape makes a
-- version before this one, still running, stand: what it told nobody would remember.
with word as (
    select r.subject, r.number, a.body::jsonb ->> 'as_of' as as_of, line ->> 'reason' as reason, line ->> 'kind' = 'RAISED' as raised,
        concat_ws('|', line ->> 'case_id', line ->> 'about', line ->> 'rule', line ->> 'first_on') as key
    from timeline r
    join timeline a on a.family = r.family and a.subject = r.subject and a.type = 'lotse.notification.notification_attempted.v1'
        and a.body::jsonb ->> 'attempt_id' = r.body::jsonb ->> 'attempt_id'
    cross join jsonb_array_elements(a.body::jsonb -> 'lines') line
    where r.family = 'notification'
        and r.type in ('lotse.notification.notification_sent.v1', 'lotse.notification.notification_uncertain.v1')
), heard as (
    select distinct on (subject, key) *, max(as_of::timestamptz) over (partition by subject) as newest
    from word order by subject, key, number desc, raised desc
), over as (
    select subject, string_agg(to_json(key)::text || ':[' || coalesce(to_json(reason)::text, 'null') || ',' || to_json(as_of)::text || ']',
        ',' order by key collate "C") as said
    from heard where not raised and as_of::timestamptz >= newest - interval '8 weeks' group by subject
)
update state set shape = 7, due_at = case when s.said is null then due_at else '0001-01-01 00:00:00+00' end,
    body = regexp_replace(body, '(,"last_as_of":(?:"[^"]*"|null),"failures":[0-9]+\}\})$',
        ',"said_why":{' || coalesce(s.said, '') || '}\1')
from (select kind, id, said from state left join over on subject = id) s
where state.kind = 'office' and state.shape = 6 and state.body is not null and (s.kind, s.id) = (state.kind, state.id);

-- migrate:down
select;
