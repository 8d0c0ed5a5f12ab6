-- migrate:up
set lock_timeout = '5s';

-- A participation's id is its case's: another case's under the same id is another row. Whose it is, its state knows; of an id
-- that two cases had, `lotse rebuild reporting` learns the other row.
alter table participation_period add column case_id text;
update participation_period p set case_id = s.id
  from state s cross join jsonb_object_keys(s.body::jsonb -> 'participations') k (id)
  where s.kind = 'case' and s.body is not null and k.id = p.participation_id;
alter table participation_period alter column case_id set not null;
alter table participation_period drop constraint participation_period_pkey, add primary key (case_id, participation_id);

-- migrate:down
alter table participation_period drop constraint participation_period_pkey, add primary key (participation_id);
alter table participation_period drop column case_id;
