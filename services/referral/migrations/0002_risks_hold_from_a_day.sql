-- migrate:up
set lock_timeout = '5s';

-- In facts `first_on` is the first of the days that caused a risk; the list shows from which day the rule holds. What stands
-- there of S6 was the planned start: `lotse rebuild referral` learns it anew.
alter table risk_list rename column first_on to holds_from_on;

-- migrate:down
alter table risk_list rename column holds_from_on to first_on;
