-- migrate:up
set lock_timeout = '5s';

-- Of a worry that is over it is said again why where what is known now gives another reason: states of shape 10 do not remember what was
-- said. They are set to what a rebuild makes of them, letter by letter and fact by fact, one member more at the end: the newest thirty of
-- eight weeks, each with the reason that stood when its tick began. Who has any is asked at the next tick: rules give other reasons than
-- they did. The shape makes a version before this one, still running, stand: what it withdrew nobody would remember.
do $$
declare
    risky_case text;
    said record;
    lasts jsonb;
    over jsonb;
    was jsonb;
    before text;
begin
    for risky_case in
        select distinct subject from timeline where family = 'dropout' and split_part(type, '.', 3) = 'dropout_risk_withdrawn'
    loop
        lasts := '{}';
        over := '[]';
        for said in
            select what, jsonb_build_array(body ->> 'about', body ->> 'rule', body ->> 'first_on') as key, body ->> 'first_on' as first_on,
                body ->> 'reason' as reason, body ->> 'as_of' as as_of, (body ->> 'as_of')::timestamptz as at,
                case what when 'dropout_risk_raised' then (select max(day) from jsonb_array_elements_text(body -> 'days_on') day)
                    when 'dropout_risk_continued' then body ->> 'last_missed_on' end as last_on
            from (select number, split_part(type, '.', 3) as what, body::jsonb as body from timeline
                where family = 'dropout' and subject = risky_case) facts
            where what in ('dropout_risk_raised', 'dropout_risk_continued', 'dropout_risk_withdrawn') order by number
        loop
            if said.last_on is not null then
                lasts := lasts || jsonb_build_object(said.key::text, said.last_on);
            end if;
            continue when said.what = 'dropout_risk_continued';
            select one into was from jsonb_array_elements(over) one where jsonb_build_array(one -> 0, one -> 1, one -> 2) = said.key
                and (one ->> 5)::timestamptz >= said.at - interval '8 weeks';
            before := case when (was ->> 5)::timestamptz >= said.at then was ->> 6 else nullif(was ->> 4, '') end;
            if said.what = 'dropout_risk_withdrawn' then
                over := (
                    select coalesce(jsonb_agg(one order by place), '[]') from (
                        select one, place from jsonb_array_elements(over) with ordinality risk(one, place)
                        where jsonb_build_array(one -> 0, one -> 1, one -> 2) <> said.key
                            and (one ->> 5)::timestamptz >= said.at - interval '8 weeks' order by place desc limit 29
                    ) others
                ) || jsonb_build_array(said.key || jsonb_build_array(
                    coalesce(lasts ->> said.key::text, said.first_on), said.reason, said.as_of, before));
            elsif was is not null then
                over := (select jsonb_agg(case when one = was
                    then said.key || jsonb_build_array(one -> 3, '', said.as_of, before) else one end order by place)
                    from jsonb_array_elements(over) with ordinality risk(one, place));
            end if;
        end loop;
        update state set shape = 11, due_at = '0001-01-01 00:00:00+00',
            body = left(body, -2) || ',"over":' || replace(over::text, ', ', ',') || '}}'
        where kind = 'case' and shape = 10 and body is not null and id = risky_case;
    end loop;
end $$;

update state set shape = 11, body = left(body, -2) || ',"over":[]}}' where kind = 'case' and shape = 10 and body is not null;

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
