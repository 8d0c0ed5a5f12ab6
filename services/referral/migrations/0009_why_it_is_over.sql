-- migrate:up
set lock_timeout = '5s';

-- Of a worry that is over it is said again why where what is known now gives another reason: states of shape 10 do not remember what was
-- said. They are set to what a rebuild makes of them, letter by letter: of the eight weeks before the newest withdrawal the newest thirty,
-- one member more at the end. Who has any is asked at the next tick: rules give other reasons than they did. The shape makes a version
-- before this one, still running, stand: what it withdrew nobody would remember.
with said as (
    select subject, number, split_part(type, '.', 3) as what, body::jsonb as body from timeline where family = 'dropout'
        and split_part(type, '.', 3) in ('dropout_risk_raised', 'dropout_risk_continued', 'dropout_risk_withdrawn')
), risk as (
    select subject, number, body ->> 'about' as about, body ->> 'rule' as rule, body ->> 'first_on' as first_on,
        body ->> 'reason' as reason, body ->> 'as_of' as as_of,
        case what when 'dropout_risk_raised' then (select max(day) from jsonb_array_elements_text(body -> 'days_on') day)
            when 'dropout_risk_continued' then body ->> 'last_missed_on' end as last_on
    from said
), withdrawn as (
    select distinct on (subject, about, rule, first_on) * from risk where reason is not null
    order by subject, about, rule, first_on, number desc
), lasts as (
    select distinct on (w.subject, w.number) w.subject, w.number, r.last_on
    from withdrawn w join risk r using (subject, about, rule, first_on)
    where r.last_on is not null and r.number < w.number order by w.subject, w.number, r.number desc
), known as (
    select subject, number, about, rule, first_on, coalesce(lasts.last_on, first_on) as last_on, reason, as_of,
        row_number() over (partition by subject order by number desc) as place,
        max(as_of::timestamptz) over (partition by subject) as newest
    from withdrawn left join lasts using (subject, number)
), over as (
    select subject, string_agg(jsonb_build_array(about, rule, first_on, last_on, reason, as_of)::text, ', ' order by number) as said
    from known where place <= 30 and as_of::timestamptz >= newest - interval '8 weeks' group by subject
)
update state set shape = 11, due_at = case when s.said is null then due_at else '0001-01-01 00:00:00+00' end,
    body = left(body, -2) || ',"over":[' || coalesce(replace(s.said, ', ', ','), '') || ']}}'
from (select kind, id, said from state left join over on subject = id) s
where state.kind = 'case' and state.shape = 10 and state.body is not null and (s.kind, s.id) = (state.kind, state.id);

-- By which yes a planned start was left is judged of all of them: each referral has a member more, empty where one yes is known alone.
update state set body = regexp_replace(body,
    '("(?:SENT|ACCEPTED|DECLINED|STOPPED)",(?:"[^"]*"|null),"[^"]*"(?:,(?:"[^"]*"|null)){3})\]', '\1,[]]', 'g')
where kind = 'case' and shape = 11 and body like '%"referrals":{"%';

do $$
declare known record;
begin
    for known in
        with said as (
            select subject, number, body::jsonb ->> 'referral_id' as id, body::jsonb ->> 'answered_on' as answered,
                body::jsonb ->> 'planned_start_on' as planned from timeline
            where family = 'referral' and type = 'lotse.referral.referral_accepted.v1'
        ), yes as (
            select *, row_number() over (partition by subject, id order by answered desc, number desc) as place from (
                select *, lag((answered, planned)) over (partition by subject, id order by answered, number) as before from said
            ) moved where before is distinct from (answered, planned)
        )
        select subject, id, string_agg('["' || answered || '","' || planned || '"]', ',' order by place desc) as yeses
        from yes where place <= 10 group by 1, 2 having count(*) > 1
    loop
        update state set body = regexp_replace(body,
            '("' || known.id || '":\[(?:"[^"]*",){7}\[[^]]*\](?:,(?:"[^"]*"|null)){8},)\[\]\]', '\1[' || known.yeses || ']]')
        where kind = 'case' and shape = 11 and id = known.subject;
    end loop;
end $$;

-- migrate:down
select;
