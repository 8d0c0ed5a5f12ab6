-- migrate:up
set lock_timeout = '5s';

-- The newest day said of a risk: what is older than a fortnight is in no mail any more. Of rows from before it is said with their
-- office's next change.
alter table notice_list add column evidence_on date;

-- migrate:down
alter table notice_list drop column evidence_on;
