-- migrate:up
set lock_timeout = '5s';

-- States of shape 8 expect somebody on the day of the yes that was heard last, and do not know of a first one: where there were
-- several, state and list are set to what a rebuild makes of them. Open absences are asked, too, whether a newest day that was said has
-- been corrected since. All cases with a referral get the shape: a version before it, still running, stands at them, or it would
-- fold a second yes its own way, and nobody would ask again. What has it is compared with a rebuild, letter by letter, so the text is
-- written as we write it: a member more, at the end of each referral.
with yes as (
    select subject from timeline where family = 'referral' and type = 'lotse.referral.referral_accepted.v1'
    group by subject, body::jsonb ->> 'referral_id' having count(distinct body::jsonb ->> 'answered_on') > 1
)
update state set shape = 9,
    due_at = case when body like '%"S2"%' or id in (select subject from yes) then '0001-01-01 00:00:00+00' else due_at end,
    body = regexp_replace(body,
    '("(?:SENT|ACCEPTED|DECLINED|STOPPED)",(?:"[^"]*"|null),"[^"]*",(?:"[^"]*"|null),(?:"[^"]*"|null))\]', '\1,null]', 'g')
where kind = 'case' and shape < 9 and (body like '%"referrals":{"%' or body like '%"S2"%');

do $$
declare yes record;
begin
    for yes in
        select subject, said ->> 'referral_id' as id, min(said ->> 'answered_on') as first, max(said ->> 'answered_on') as stands,
            (array_agg(said ->> 'planned_start_on' order by said ->> 'answered_on' desc, number desc))[1] as planned
        from (select subject, number, body::jsonb as said from timeline
            where family = 'referral' and type = 'lotse.referral.referral_accepted.v1') facts
        group by 1, 2 having count(distinct said ->> 'answered_on') > 1
    loop
        update state set body = regexp_replace(body, '("' || yes.id || '":\[(?:"[^"]*",){7}\[[^]]*\],(?:"[^"]*",){3})(?:"[^"]*"|null)'
                '(,"[^"]*",(?:"[^"]*"|null),)(?:"[^"]*"|null),null\]',
            '\1"' || yes.planned || '"\2"' || yes.stands || '","' || yes.first || '"]')
        where kind = 'case' and id = yes.subject;
        update referral_board set planned_start_on = yes.planned::date where case_id = yes.subject and referral_id = yes.id;
    end loop;
end $$;

-- Where somebody is still expected, the day on which S6 holds has come where the risk is open.
update risk_list r set holds_from_on = null from referral_board b
where r.rule = 'S6' and not r.open and (b.case_id, b.referral_id, b.state) = (r.case_id, r.about, 'ACCEPTED')
    and not exists (select from participation_list p where (p.case_id, p.referral_id) = (r.case_id, r.about));

-- migrate:down
select;
