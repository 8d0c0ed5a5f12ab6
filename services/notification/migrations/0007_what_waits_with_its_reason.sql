-- migrate:up
set lock_timeout = '5s';

-- What is over and waits to be said waits with its newest reason: an office that was told another one stands among what is taken back,
-- too. A version before this one, still running, would take that for a belief that the risk holds, and not say that it holds again: the
-- shape makes it stand. Who is asked at the next tick may be told a reason that had been forgotten. States are set to what a rebuild
-- makes of them, letter by letter: another reason of a mail that failed, of which nothing was said since, waits among the others.
-- Locked first, by a statement of its own: what an earlier version takes back meanwhile would be overwritten.
select from state where kind = 'office' and shape = 7 order by kind, id for update;
with said as (
    select a.subject, a.number, line, line ->> 'kind' = 'WITHDRAWN' and f.attempt_id is not null as waits
    from timeline a
    left join (
        select distinct subject, body::jsonb ->> 'attempt_id' as attempt_id from timeline
        where family = 'notification' and type = 'lotse.notification.notification_failed.v1'
    ) f on f.subject = a.subject and f.attempt_id = a.body::jsonb ->> 'attempt_id'
    cross join jsonb_array_elements(a.body::jsonb -> 'lines') line
    where a.family = 'notification' and a.type = 'lotse.notification.notification_attempted.v1'
    union all
    select subject, number, body::jsonb -> 'line', false from timeline
    where family = 'notification' and type = 'lotse.notification.notification_withdrawn.v1'
), last as (
    select distinct on (subject, key) *
    from (select *, concat_ws('|', line ->> 'case_id', line ->> 'about', line ->> 'rule', line ->> 'first_on') as key from said) s
    order by subject, key, number desc
), failed as (
    select subject, jsonb_object_agg(key, jsonb_build_array(
        line -> 'case_id', line -> 'about', line -> 'rule', line -> 'first_on', line -> 'reason')) as lines
    from last where waits group by subject
), back as (
    select s.id, string_agg(to_json(key)::text || ':[' || (
        select string_agg(one::text, ',' order by n) from jsonb_array_elements(value) with ordinality e(one, n)) || ']',
        ',' order by key collate "C") as lines
    from state s join failed on subject = s.id
    cross join jsonb_each(failed.lines || (s.body::jsonb #> '{notification,taken_back}'))
    where s.kind = 'office' and s.shape = 7 and s.body is not null group by s.id
)
update state set shape = 8, due_at = '0001-01-01 00:00:00+00',
    body = coalesce(regexp_replace(body, '"taken_back":\{[^}]*\}', '"taken_back":{' || b.lines || '}'), body)
from (select kind, id, lines from state left join back using (id)) b
where state.kind = 'office' and state.shape = 7 and state.body is not null and (b.kind, b.id) = (state.kind, state.id);

-- migrate:down
select;
