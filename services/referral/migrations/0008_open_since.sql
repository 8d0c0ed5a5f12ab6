-- migrate:up
set lock_timeout = '5s';

-- Since when a risk is open: `holds_from_on` may be of an earlier one, after which she had come again. The shape makes a version before
-- this one, still running, stand: what it raised would be open since no day.
alter table risk_list add column open_first_on date;

update risk_list set open_first_on = (risk ->> 2)::date
from state, jsonb_array_elements(body::jsonb #> '{dropout,open}') risk
where kind = 'case' and id = case_id and open and (risk ->> 0, risk ->> 1) = (about, rule);

update state set shape = 10 where kind = 'case' and shape = 9;

-- migrate:down
alter table risk_list drop column open_first_on;
