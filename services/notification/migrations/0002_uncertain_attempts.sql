-- migrate:up
set lock_timeout = '5s';

-- Each look at /status asks for those of a week; they are few, and everything else grows.
create index timeline_uncertain on timeline (recorded_at) where split_part(type, '.', 3) = 'notification_uncertain';

-- migrate:down
drop index timeline_uncertain;
