-- migrate:up
set lock_timeout = '5s';

-- Ids of referrals and participations are their case's: another case's under the same id is another row.
alter table referral_board drop constraint referral_board_pkey, add primary key (case_id, referral_id);
alter table participation_list drop constraint participation_list_pkey, add primary key (case_id, participation_id);
alter table risk_list drop constraint risk_list_pkey, add primary key (case_id, about, rule);
drop index referral_board_case, participation_list_case, risk_list_case;

-- migrate:down
create index referral_board_case on referral_board (case_id);
create index participation_list_case on participation_list (case_id);
create index risk_list_case on risk_list (case_id);
alter table risk_list drop constraint risk_list_pkey, add primary key (about, rule);
alter table participation_list drop constraint participation_list_pkey, add primary key (participation_id);
alter table referral_board drop constraint referral_board_pkey, add primary key (referral_id);
