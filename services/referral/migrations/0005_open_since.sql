-- migrate:up
set lock_timeout = '5s';

-- Since when a risk is open: `holds_from_on` may be of an earlier one, after which she had come again.
alter table risk_list add column open_first_on date;

-- migrate:down
alter table risk_list drop column open_first_on;
